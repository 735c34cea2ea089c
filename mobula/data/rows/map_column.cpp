#include "mobula/data/rows/map_column.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/preprocess/columns.hpp"

namespace mobula::data::detail {

RecordBatchPointer column_as_value(const RecordBatchPointer& batch, const std::string& column) {
  const auto values = batch->GetColumnByName(column);
  if (values == nullptr) {
    throw Error(ErrorCode::not_found, fmt::format("no column '{}'", column),
                suggest(column, batch->schema()->field_names()));
  }
  return arrow::RecordBatch::Make(arrow::schema({arrow::field("value", values->type())}), batch->num_rows(), {values});
}

RecordBatchPointer with_value_column(const RecordBatchPointer& batch, const RecordBatchPointer& values,
                                     const std::string& name) {
  return with_column(batch, name, values->column(0));
}

}  // namespace mobula::data::detail
