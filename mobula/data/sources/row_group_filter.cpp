#include "mobula/data/sources/row_group_filter.hpp"

#include <arrow/compute/exec.h>
#include <arrow/datum.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>
#include <parquet/metadata.h>
#include <parquet/schema.h>
#include <parquet/statistics.h>

#include <optional>
#include <string>

namespace mobula::data {
namespace {

using ScalarPointer = std::shared_ptr<arrow::Scalar>;

/// The least and the greatest value of a column in a row group.
struct Bounds {
  ScalarPointer min;
  ScalarPointer max;
  bool only_nulls = false;
};

std::optional<Bounds> bounds_of(const std::string& column, const parquet::RowGroupMetaData& row_group) {
  for (int leaf = 0; leaf < row_group.num_columns(); ++leaf) {
    if (row_group.schema()->Column(leaf)->path()->ToDotString() != column) continue;
    const auto chunk = row_group.ColumnChunk(leaf);
    const auto statistics = chunk->is_stats_set() ? chunk->statistics() : nullptr;
    if (statistics == nullptr) return std::nullopt;
    Bounds bounds;
    bounds.only_nulls = statistics->HasNullCount() && statistics->null_count() == row_group.num_rows();
    if (bounds.only_nulls) return bounds;
    if (!statistics->HasMinMax() || !parquet::arrow::StatisticsAsScalars(*statistics, &bounds.min, &bounds.max).ok())
      return std::nullopt;
    return bounds;
  }
  return std::nullopt;
}

ScalarPointer scalar_of(const Expression::Literal& literal) {
  struct Visitor {
    ScalarPointer operator()(std::monostate) const { return nullptr; }
    ScalarPointer operator()(bool value) const { return std::make_shared<arrow::BooleanScalar>(value); }
    ScalarPointer operator()(std::int64_t value) const { return std::make_shared<arrow::Int64Scalar>(value); }
    ScalarPointer operator()(double value) const { return std::make_shared<arrow::DoubleScalar>(value); }
    ScalarPointer operator()(const std::string& value) const { return std::make_shared<arrow::StringScalar>(value); }
  };
  return std::visit(Visitor{}, literal);
}

/// Tells whether `left function right` is known to be false.
bool surely_not(const ScalarPointer& left, const char* function, const ScalarPointer& right) {
  const auto truth = arrow::compute::CallFunction(function, {arrow::Datum(left), arrow::Datum(right)});
  if (!truth.ok() || !truth->is_scalar() || !truth->scalar()->is_valid) return false;
  return !truth->scalar_as<arrow::BooleanScalar>().value;
}

std::string mirrored(const std::string& comparison) {
  if (comparison == "<") return ">";
  if (comparison == "<=") return ">=";
  if (comparison == ">") return "<";
  if (comparison == ">=") return "<=";
  return comparison;
}

bool comparison_may_match(const std::string& comparison, const Expression& column, const Expression& literal,
                          const parquet::RowGroupMetaData& row_group) {
  const auto bounds = bounds_of(column.name, row_group);
  const ScalarPointer value = scalar_of(literal.literal);
  if (!bounds || value == nullptr) return true;
  if (bounds->only_nulls) return false;
  if (comparison == "<") return !surely_not(bounds->min, "less", value);
  if (comparison == "<=") return !surely_not(bounds->min, "less_equal", value);
  if (comparison == ">") return !surely_not(bounds->max, "greater", value);
  if (comparison == ">=") return !surely_not(bounds->max, "greater_equal", value);
  if (comparison == "==")
    return !surely_not(bounds->min, "less_equal", value) && !surely_not(bounds->max, "greater_equal", value);
  return true;  // != is met by all values but one, and by NaN, which statistics leave out
}

}  // namespace

bool may_match(const Expression& predicate, const parquet::RowGroupMetaData& row_group) {
  if (predicate.kind != Expression::Kind::call || predicate.arguments.size() != 2) return true;
  const Expression& left = *predicate.arguments[0];
  const Expression& right = *predicate.arguments[1];
  if (predicate.name == "and") return may_match(left, row_group) && may_match(right, row_group);
  if (predicate.name == "or") return may_match(left, row_group) || may_match(right, row_group);
  using Kind = Expression::Kind;
  const std::string& name = predicate.name;
  if (name != "<" && name != "<=" && name != ">" && name != ">=" && name != "==") return true;
  if (left.kind == Kind::column && right.kind == Kind::literal)
    return comparison_may_match(name, left, right, row_group);
  if (left.kind == Kind::literal && right.kind == Kind::column)
    return comparison_may_match(mirrored(name), right, left, row_group);
  return true;
}

}  // namespace mobula::data
