#include "mobula/data/rows/row_numbers.hpp"

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {
namespace {
constexpr const char* kColumn = "mobula: row that went in";
}

RecordBatchPointer with_row_numbers(const RecordBatchPointer& batch, const std::vector<std::int64_t>& rows) {
  if (static_cast<std::int64_t>(rows.size()) != batch->num_rows())
    throw_invalid(fmt::format("with_row_numbers: {} numbers for {} rows", rows.size(), batch->num_rows()));
  auto column = std::make_shared<arrow::Int64Array>(batch->num_rows(), arrow::Buffer::FromVector(rows));
  return take(batch->AddColumn(batch->num_columns(), arrow::field(kColumn, arrow::int64(), false), std::move(column)),
              "with_row_numbers");
}

std::optional<std::vector<std::int64_t>> take_row_numbers(RecordBatchPointer& batch) {
  const int position = batch->schema()->GetFieldIndex(kColumn);
  if (position < 0 || batch->schema()->field(position)->type()->id() != arrow::Type::INT64) return std::nullopt;
  const auto column = std::static_pointer_cast<arrow::Int64Array>(batch->column(position));
  std::vector<std::int64_t> rows(column->raw_values(), column->raw_values() + column->length());
  batch = take(batch->RemoveColumn(position), "with_row_numbers");
  return rows;
}

}  // namespace mobula::data
