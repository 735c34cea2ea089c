#include "mobula/data/operators/reported_rows.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/key_value_metadata.h>

#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {
namespace {
constexpr const char* kKey = "mobula: bad rows";
}

RecordBatchPointer with_bad_rows(const RecordBatchPointer& batch, const std::vector<std::string>& lines) {
  if (lines.empty()) return batch;
  const auto& before = batch->schema()->metadata();
  const auto metadata = before == nullptr ? std::make_shared<arrow::KeyValueMetadata>() : before->Copy();
  check(metadata->Set(kKey, Json(lines).dump()), "bad rows");
  return batch->ReplaceSchemaMetadata(metadata);
}

Json take_bad_rows(RecordBatchPointer& batch) {
  Json rows = Json::array();
  const auto& before = batch->schema()->metadata();
  if (before == nullptr || !before->Contains(kKey)) return rows;
  for (const Json& line : parse_json(take(before->Get(kKey), "bad rows"), "bad rows"))
    rows.push_back(parse_json(line.get<std::string>(), "bad rows"));
  const auto metadata = before->Copy();
  check(metadata->Delete(kKey), "bad rows");
  batch = batch->ReplaceSchemaMetadata(metadata->size() == 0 ? nullptr : metadata);
  return rows;
}

}  // namespace mobula::data
