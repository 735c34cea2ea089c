#include "mobula/data/expressions/string_kernels.hpp"

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/compute/api_scalar.h>
#include <arrow/compute/cast.h>
#include <arrow/compute/exec.h>
#include <arrow/type.h>
#include <arrow/util/bitmap_ops.h>

#include <cstdint>

#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {
namespace {

/// Tells whether all bytes are below 0x80.
bool is_ascii(const std::uint8_t* bytes, std::int64_t size) {
  std::int64_t at = 0;
  for (; at + 4096 <= size; at += 4096) {  // in stretches, so that the loop inside has no exit and becomes vector code
    std::uint8_t high = 0;
    for (std::int64_t i = 0; i < 4096; ++i) high |= bytes[at + i];
    if (high & 0x80) return false;
  }
  std::uint8_t high = 0;
  for (; at < size; ++at) high |= bytes[at];
  return (high & 0x80) == 0;
}

/// Copies with the letters from `first` on, 26 of them, moved to the other case.
void flip_case(const std::uint8_t* from, std::int64_t size, std::uint8_t first, std::uint8_t* to) {
  for (std::int64_t i = 0; i < size; ++i) {
    const std::uint8_t byte = from[i];
    to[i] = static_cast<std::uint8_t>(byte ^ (static_cast<std::uint8_t>(byte - first) < 26 ? 0x20 : 0));
  }
}

/// Returns the validity of an array as a bitmap that starts at its first value; null where all are valid.
std::shared_ptr<arrow::Buffer> validity(const arrow::Array& array) {
  if (array.null_count() == 0) return nullptr;
  return take(arrow::internal::CopyBitmap(arrow::default_memory_pool(), array.null_bitmap_data(), array.offset(),
                                          array.length()),
              "validity");
}

}  // namespace

std::shared_ptr<arrow::Array> change_case(const std::shared_ptr<arrow::Array>& array, bool upper) {
  if (array->type_id() == arrow::Type::STRING && array->length() > 0) {
    const auto& strings = static_cast<const arrow::StringArray&>(*array);
    const std::int64_t begin = strings.value_offset(0);
    const std::int64_t size = strings.value_offset(array->length()) - begin;
    const std::uint8_t* bytes = strings.raw_data() + begin;
    if (size == 0 || is_ascii(bytes, size)) {
      std::shared_ptr<arrow::Buffer> changed = take(arrow::AllocateBuffer(size), "upper");
      if (size > 0) flip_case(bytes, size, upper ? 'a' : 'A', changed->mutable_data());
      std::shared_ptr<arrow::Buffer> offsets;
      if (begin == 0 && array->offset() == 0) {
        offsets = strings.value_offsets();
      } else {
        offsets = take(arrow::AllocateBuffer((array->length() + 1) * 4), "upper");
        auto* out = reinterpret_cast<std::int32_t*>(offsets->mutable_data());
        for (std::int64_t i = 0; i <= array->length(); ++i)
          out[i] = static_cast<std::int32_t>(strings.value_offset(i) - begin);
      }
      return arrow::MakeArray(arrow::ArrayData::Make(arrow::utf8(), array->length(),
                                                     {validity(*array), offsets, changed}, array->null_count()));
    }
  }
  initialize_arrow();
  return take(arrow::compute::CallFunction(upper ? "utf8_upper" : "utf8_lower", {array}), upper ? "upper" : "lower")
      .make_array();
}

std::shared_ptr<arrow::Array> count_code_points(const std::shared_ptr<arrow::Array>& array) {
  if (array->type_id() == arrow::Type::STRING && array->length() > 0) {
    const auto& strings = static_cast<const arrow::StringArray&>(*array);
    const std::int64_t begin = strings.value_offset(0);
    if (is_ascii(strings.raw_data() + begin, strings.value_offset(array->length()) - begin)) {
      std::shared_ptr<arrow::Buffer> counts = take(arrow::AllocateBuffer(array->length() * 8), "length");
      auto* out = reinterpret_cast<std::int64_t*>(counts->mutable_data());
      const std::int32_t* ends = strings.raw_value_offsets();
      for (std::int64_t i = 0; i < array->length(); ++i) out[i] = ends[i + 1] - ends[i];
      return arrow::MakeArray(arrow::ArrayData::Make(arrow::int64(), array->length(),
                                                     {validity(*array), std::move(counts)}, array->null_count()));
    }
  }
  initialize_arrow();
  const auto counts = take(arrow::compute::CallFunction("utf8_length", {array}), "length");
  return take(arrow::compute::Cast(counts, arrow::int64()), "length").make_array();
}

}  // namespace mobula::data
