/// Encoded columns (dictionaries, views, runs) become plain ones, so that operators see one form of each type.
/// Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <memory>

namespace mobula::data {

/// Returns the type without its encoding: dictionary<string> and string_view are string.
std::shared_ptr<arrow::DataType> plain_type(const std::shared_ptr<arrow::DataType>& type);
/// Returns the schema with plain types and without metadata.
std::shared_ptr<arrow::Schema> plain_schema(const arrow::Schema& schema);
/// Casts the columns that aren't of the schema's types. Throws Error.
std::shared_ptr<arrow::RecordBatch> to_plain(const std::shared_ptr<arrow::RecordBatch>& batch,
                                             const std::shared_ptr<arrow::Schema>& schema, const std::string& what);

}  // namespace mobula::data
