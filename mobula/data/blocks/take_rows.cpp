#include "mobula/data/blocks/take_rows.hpp"

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>

#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {

std::shared_ptr<arrow::RecordBatch> take_rows(const std::shared_ptr<arrow::RecordBatch>& batch,
                                              std::span<const std::uint32_t> rows, std::string_view what) {
  auto memory = std::make_shared<arrow::Buffer>(reinterpret_cast<const std::uint8_t*>(rows.data()),
                                                static_cast<std::int64_t>(rows.size_bytes()));
  const auto indices = std::make_shared<arrow::UInt32Array>(static_cast<std::int64_t>(rows.size()), std::move(memory));
  if (batch->num_columns() == 0)
    return arrow::RecordBatch::Make(batch->schema(), indices->length(), arrow::ArrayVector());
  return take(arrow::compute::Take(batch, indices, arrow::compute::TakeOptions::NoBoundsCheck()), what).record_batch();
}

}  // namespace mobula::data
