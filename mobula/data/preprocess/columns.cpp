#include "mobula/data/preprocess/columns.hpp"

#include <arrow/array.h>
#include <arrow/array/array_nested.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/compute/cast.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {
namespace {

/// Returns a column, to be cast: before any dataset has run, where a server transforms batches.
std::shared_ptr<arrow::Array> find(const RecordBatchPointer& batch, const std::string& column) {
  initialize_arrow();
  auto values = batch->GetColumnByName(column);
  if (values == nullptr) {
    throw Error(ErrorCode::not_found, fmt::format("preprocess: no column '{}'", column),
                suggest(column, batch->schema()->field_names()));
  }
  return values;
}

template <class Builder, class Value>
std::shared_ptr<arrow::Array> to_array(const std::vector<std::optional<Value>>& values) {
  Builder builder;
  check(builder.Reserve(static_cast<std::int64_t>(values.size())), "preprocess");
  for (const auto& value : values) value ? builder.UnsafeAppend(*value) : builder.UnsafeAppendNull();
  return take(builder.Finish(), "preprocess");
}

}  // namespace

std::shared_ptr<arrow::DoubleArray> numbers_of(const RecordBatchPointer& batch, const std::string& column) {
  auto values = find(batch, column);
  if (!arrow::is_numeric(values->type_id()) && !arrow::is_decimal(values->type_id()) &&
      values->type_id() != arrow::Type::BOOL) {
    throw_invalid(fmt::format("preprocess: column '{}' is {}, not numbers", column, values->type()->ToString()),
                  "encode or cast it first");
  }
  if (values->type_id() == arrow::Type::BOOL) values = take(arrow::compute::Cast(*values, arrow::uint8()), column);
  const auto options = arrow::compute::CastOptions::Unsafe();
  return std::static_pointer_cast<arrow::DoubleArray>(
      take(arrow::compute::Cast(*values, arrow::float64(), options), column));
}

std::shared_ptr<arrow::StringArray> texts_of(const RecordBatchPointer& batch, const std::string& column) {
  const auto values = find(batch, column);
  const auto id = values->type_id();
  if (id != arrow::Type::STRING && id != arrow::Type::LARGE_STRING && !arrow::is_integer(id) &&
      id != arrow::Type::BOOL) {
    throw_invalid(fmt::format("preprocess: column '{}' is {}, neither texts nor whole numbers", column,
                              values->type()->ToString()),
                  "cast it to string first");
  }
  return std::static_pointer_cast<arrow::StringArray>(take(arrow::compute::Cast(*values, arrow::utf8()), column));
}

RecordBatchPointer with_column(const RecordBatchPointer& batch, const std::string& name,
                               std::shared_ptr<arrow::Array> values) {
  const int position = batch->schema()->GetFieldIndex(name);
  const auto field = arrow::field(name, values->type());
  if (position >= 0) return take(batch->SetColumn(position, field, values), name);
  return take(batch->AddColumn(batch->num_columns(), field, values), name);
}

RecordBatchPointer without_column(const RecordBatchPointer& batch, const std::string& name) {
  return take(batch->RemoveColumn(batch->schema()->GetFieldIndex(name)), name);
}

std::shared_ptr<arrow::Array> vectors_of(std::vector<double> values, std::int64_t length) {
  const auto size = static_cast<std::int64_t>(values.size());
  auto items = arrow::MakeArray(
      arrow::ArrayData::Make(arrow::float64(), size, {nullptr, arrow::Buffer::FromVector(std::move(values))}, 0));
  return take(arrow::FixedSizeListArray::FromArrays(std::move(items), static_cast<std::int32_t>(length)), "preprocess");
}

std::shared_ptr<arrow::Array> numbers_to_array(const std::vector<std::optional<double>>& values) {
  return to_array<arrow::DoubleBuilder>(values);
}

std::shared_ptr<arrow::Array> integers_to_array(const std::vector<std::optional<std::int64_t>>& values) {
  return to_array<arrow::Int64Builder>(values);
}

std::vector<double> quantiles_of(const Dataset& dataset, const std::string& column,
                                 const std::vector<double>& quantiles, const RunOptions& options) {
  const auto known = dataset.select({column})
                         .with({{column, fmt::format("cast(`{}`, 'float64')", column)}})
                         .filter(fmt::format("`{0}` is not null and not is_nan(`{0}`)", column));
  const std::int64_t rows = known.count(options).rows;
  if (rows == 0) throw_invalid(fmt::format("preprocess: column '{}' holds no numbers to learn from", column));
  std::vector<double> lower(quantiles.size());
  std::vector<double> upper(quantiles.size());
  std::int64_t first = 0;
  known.sort({{column, false}})
      .for_each(
          [&](const RecordBatchPointer& batch) {
            const auto values = numbers_of(batch, column);
            for (std::size_t i = 0; i < quantiles.size(); ++i) {
              const auto at = static_cast<std::int64_t>(quantiles[i] * static_cast<double>(rows - 1));
              const std::int64_t next = std::min(at + 1, rows - 1);
              if (at >= first && at < first + values->length()) lower[i] = values->Value(at - first);
              if (next >= first && next < first + values->length()) upper[i] = values->Value(next - first);
            }
            first += values->length();
            return true;
          },
          options);
  std::vector<double> result(quantiles.size());
  for (std::size_t i = 0; i < quantiles.size(); ++i) {
    const double at = quantiles[i] * static_cast<double>(rows - 1);
    result[i] = lower[i] + (upper[i] - lower[i]) * (at - std::floor(at));
  }
  return result;
}

void throw_not_fitted(const std::string& kind) {
  throw_invalid(fmt::format("{}: has not learnt yet", kind), "call fit() first, or load a fitted one");
}

}  // namespace mobula::data
