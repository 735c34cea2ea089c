/// The types of numbers that GGUF files hold (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), and how blocks
/// of quantized ones become floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mobula::nn {

/// One type: so many numbers take so many bytes.
struct GgufType {
  std::uint32_t id = 0;
  std::string_view name;  ///< such as "Q4_K"
  std::int64_t block_numbers = 1;
  std::int64_t block_bytes = 0;
  /// Writes the numbers of `num_blocks` blocks.
  void (*to_float)(const std::byte* blocks, std::int64_t num_blocks, float* out) = nullptr;
};

/// Returns F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K by its id in files, or null.
const GgufType* find_gguf_type(std::uint32_t id);

}  // namespace mobula::nn
