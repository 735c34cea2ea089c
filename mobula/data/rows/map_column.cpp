#include "mobula/data/rows/map_column.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/take_rows.hpp"
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

RecordBatchPointer with_value_column(const RecordBatchPointer& batch, const std::vector<std::uint32_t>& kept,
                                     const RecordBatchPointer& values, const std::string& name) {
  const bool all = static_cast<std::int64_t>(kept.size()) == batch->num_rows();
  return with_column(all ? batch : take_rows(batch, kept, name), name, values->column(0));
}

}  // namespace mobula::data::detail
