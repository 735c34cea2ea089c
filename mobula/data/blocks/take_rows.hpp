/// Picks rows out of batches by number. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace mobula::data {

/// Returns the rows of these numbers, in their order. The numbers must lie inside the batch; `what` leads errors.
std::shared_ptr<arrow::RecordBatch> take_rows(const std::shared_ptr<arrow::RecordBatch>& batch,
                                              std::span<const std::uint32_t> rows, std::string_view what);

}  // namespace mobula::data
