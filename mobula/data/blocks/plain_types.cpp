#include "mobula/data/blocks/plain_types.hpp"

#include <arrow/array.h>
#include <arrow/compute/cast.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include <string>

#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {

std::shared_ptr<arrow::DataType> plain_type(const std::shared_ptr<arrow::DataType>& type) {
  switch (type->id()) {
    case arrow::Type::DICTIONARY:
      return plain_type(static_cast<const arrow::DictionaryType&>(*type).value_type());
    case arrow::Type::RUN_END_ENCODED:
      return plain_type(static_cast<const arrow::RunEndEncodedType&>(*type).value_type());
    case arrow::Type::EXTENSION:
      return plain_type(static_cast<const arrow::ExtensionType&>(*type).storage_type());
    case arrow::Type::STRING_VIEW:
      return arrow::utf8();
    case arrow::Type::BINARY_VIEW:
      return arrow::binary();
    case arrow::Type::NA:
      return arrow::utf8();
    default:
      return type;
  }
}

std::shared_ptr<arrow::Schema> plain_schema(const arrow::Schema& schema) {
  arrow::FieldVector fields;
  for (const auto& field : schema.fields())
    fields.push_back(arrow::field(field->name(), plain_type(field->type()), field->nullable()));
  return arrow::schema(std::move(fields));
}

std::shared_ptr<arrow::RecordBatch> to_plain(const std::shared_ptr<arrow::RecordBatch>& batch,
                                             const std::shared_ptr<arrow::Schema>& schema, const std::string& what) {
  arrow::ArrayVector columns;
  for (int i = 0; i < schema->num_fields(); ++i) {
    auto column = batch->column(i);
    const auto& type = schema->field(i)->type();
    if (column->type_id() == arrow::Type::EXTENSION)
      column = static_cast<const arrow::ExtensionArray&>(*column).storage();
    if (!column->type()->Equals(*type)) {
      column = take(arrow::compute::Cast(*column, type, arrow::compute::CastOptions::Safe()), what);
    }
    columns.push_back(std::move(column));
  }
  return arrow::RecordBatch::Make(schema, batch->num_rows(), std::move(columns));
}

}  // namespace mobula::data
