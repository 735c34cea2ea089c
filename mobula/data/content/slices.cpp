#include "mobula/data/content/slices.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "mobula/base/error.hpp"
#include "mobula/data/expressions/evaluate.hpp"
#include "mobula/data/preprocess/columns.hpp"

namespace mobula::data {
namespace {

/// Figures of one column over some of the rows.
struct ColumnFigures {
  std::int64_t values = 0;
  std::int64_t nulls = 0;
  double sum = 0;
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();

  void add(double value) {
    ++values;
    sum += value;
    min = std::min(min, value);
    max = std::max(max, value);
  }
  Json to_json() const {
    if (values == 0) return {{"mean", nullptr}, {"min", nullptr}, {"max", nullptr}, {"nulls", nulls}};
    return {{"mean", sum / static_cast<double>(values)}, {"min", min}, {"max", max}, {"nulls", nulls}};
  }
};

struct SliceFigures {
  std::string name;
  std::int64_t rows = 0;
  std::vector<ColumnFigures> columns;
};

/// Tells which rows of a batch belong to a slice.
std::vector<bool> rows_of_slice(const Slice& slice, const RecordBatchPointer& batch) {
  if (slice.predicate.empty()) {
    auto picked = slice.picks(batch);
    if (picked.size() == static_cast<std::size_t>(batch->num_rows())) return picked;
    throw Error(ErrorCode::task_failed, fmt::format("slice '{}': its function told of {} rows out of {}", slice.name,
                                                    picked.size(), batch->num_rows()));
  }
  const auto values = evaluate(*parse_expression(slice.predicate), *batch);
  if (values->type_id() != arrow::Type::BOOL)
    throw_invalid(fmt::format("slice '{}': '{}' is no truth value", slice.name, slice.predicate),
                  "compare it with something");
  const auto& truths = static_cast<const arrow::BooleanArray&>(*values);
  std::vector<bool> picked(static_cast<std::size_t>(truths.length()));
  for (std::int64_t row = 0; row < truths.length(); ++row)
    picked[static_cast<std::size_t>(row)] = truths.IsValid(row) && truths.Value(row);
  return picked;
}

}  // namespace

Json slice_figures(const Dataset& dataset, const std::vector<Slice>& slices, const std::vector<std::string>& columns,
                   const RunOptions& options) {
  std::vector<SliceFigures> figures{{"all", 0, std::vector<ColumnFigures>(columns.size())}};
  for (const Slice& slice : slices) {
    if (slice.predicate.empty() && slice.picks == nullptr)
      throw_invalid(fmt::format("slice '{}': neither an expression nor a function tells its rows", slice.name));
    figures.push_back({slice.name, 0, std::vector<ColumnFigures>(columns.size())});
  }
  dataset.for_each(
      [&](const RecordBatchPointer& batch) {
        std::vector<std::shared_ptr<arrow::DoubleArray>> numbers;
        for (const std::string& column : columns) numbers.push_back(numbers_of(batch, column));
        for (std::size_t index = 0; index < figures.size(); ++index) {
          SliceFigures& of = figures[index];
          const auto picked = index == 0 ? std::vector<bool>(static_cast<std::size_t>(batch->num_rows()), true)
                                         : rows_of_slice(slices[index - 1], batch);
          of.rows += std::count(picked.begin(), picked.end(), true);
          for (std::size_t column = 0; column < columns.size(); ++column) {
            for (std::size_t row = 0; row < picked.size(); ++row) {
              if (!picked[row]) continue;
              const auto at = static_cast<std::int64_t>(row);
              if (numbers[column]->IsNull(at)) {
                ++of.columns[column].nulls;
              } else {
                of.columns[column].add(numbers[column]->Value(at));
              }
            }
          }
        }
        return true;
      },
      options);
  Json result = Json::array();
  for (const SliceFigures& of : figures) {
    Json by_column = Json::object();
    for (std::size_t column = 0; column < columns.size(); ++column)
      by_column[columns[column]] = of.columns[column].to_json();
    const double all = std::max(1.0, static_cast<double>(figures.front().rows));
    result.push_back({{"slice", of.name},
                      {"rows", of.rows},
                      {"share", static_cast<double>(of.rows) / all},
                      {"columns", std::move(by_column)}});
  }
  return result;
}

}  // namespace mobula::data
