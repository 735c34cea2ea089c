/// Kernels for texts that are ASCII, as most are: whole buffers at once. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <memory>

namespace mobula::data {

/// Returns the column in upper (or lower) case. Column of strings; the others' cases follow Unicode.
std::shared_ptr<arrow::Array> change_case(const std::shared_ptr<arrow::Array>& strings, bool upper);
/// Returns the number of code points of each value, as int64.
std::shared_ptr<arrow::Array> count_code_points(const std::shared_ptr<arrow::Array>& strings);

}  // namespace mobula::data
