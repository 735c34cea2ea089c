#include "mobula/nn/gguf_types.hpp"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace mobula::nn {
namespace {

constexpr std::int64_t kSmallBlock = 32, kSuperBlock = 256;

std::uint8_t byte_at(const std::byte* p, std::int64_t i) {
  return std::to_integer<std::uint8_t>(p[i]);
}

float half_at(const std::byte* p) {
  c10::Half half;
  std::memcpy(&half.x, p, sizeof half.x);
  return static_cast<float>(half);
}

void from_f32(const std::byte* p, std::int64_t count, float* out) {
  std::memcpy(out, p, static_cast<std::size_t>(count) * sizeof(float));
}

void from_f16(const std::byte* p, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = half_at(p + 2 * i);
}

void from_bf16(const std::byte* p, std::int64_t count, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    c10::BFloat16 half;
    std::memcpy(&half.x, p + 2 * i, sizeof half.x);
    out[i] = static_cast<float>(half);
  }
}

// A scale (f16), 32 signed bytes.
void from_q8_0(const std::byte* p, std::int64_t num_blocks, float* out) {
  for (std::int64_t b = 0; b < num_blocks; ++b, p += 34, out += kSmallBlock) {
    const float scale = half_at(p);
    for (std::int64_t i = 0; i < kSmallBlock; ++i) {
      out[i] = scale * static_cast<float>(static_cast<std::int8_t>(byte_at(p + 2, i)));
    }
  }
}

// A scale (f16), 16 bytes: the first half of the numbers in the low halves, 8 too large.
void from_q4_0(const std::byte* p, std::int64_t num_blocks, float* out) {
  for (std::int64_t b = 0; b < num_blocks; ++b, p += 18, out += kSmallBlock) {
    const float scale = half_at(p);
    for (std::int64_t i = 0; i < kSmallBlock / 2; ++i) {
      const int digits = byte_at(p + 2, i);
      out[i] = scale * static_cast<float>((digits & 15) - 8);
      out[i + kSmallBlock / 2] = scale * static_cast<float>((digits >> 4) - 8);
    }
  }
}

// Scales (f16) of scales and of minima, eight 6-bit pairs of them in 12 bytes, 128 bytes of digits. Runs of 32 numbers
// share a pair; two runs share 32 bytes.
void from_q4_k(const std::byte* p, std::int64_t num_blocks, float* out) {
  for (std::int64_t b = 0; b < num_blocks; ++b, p += 144) {
    const float scale = half_at(p), minimum = half_at(p + 2);
    const std::byte* packed = p + 4;
    const std::byte* digits = p + 16;
    for (std::int64_t run = 0; run < 8; ++run, out += kSmallBlock) {
      int s = 0, m = 0;
      if (run < 4) {
        s = byte_at(packed, run) & 63;
        m = byte_at(packed, run + 4) & 63;
      } else {
        s = (byte_at(packed, run + 4) & 15) | (byte_at(packed, run - 4) >> 6 << 4);
        m = (byte_at(packed, run + 4) >> 4) | (byte_at(packed, run) >> 6 << 4);
      }
      const float d = scale * static_cast<float>(s), offset = minimum * static_cast<float>(m);
      const std::byte* bytes = digits + run / 2 * kSmallBlock;
      for (std::int64_t i = 0; i < kSmallBlock; ++i) {
        const int digit = run % 2 == 0 ? byte_at(bytes, i) & 15 : byte_at(bytes, i) >> 4;
        out[i] = d * static_cast<float>(digit) - offset;
      }
    }
  }
}

// 128 bytes of low digits, 64 of high ones (2 bits), 16 signed scales, their scale (f16). Per half of 128 numbers: four
// runs of 32, whose low digits lie in 64 bytes and whose high ones in 32.
void from_q6_k(const std::byte* p, std::int64_t num_blocks, float* out) {
  for (std::int64_t b = 0; b < num_blocks; ++b, p += 210) {
    const float scale = half_at(p + 208);
    for (std::int64_t half = 0; half < 2; ++half) {
      const std::byte* low = p + 64 * half;
      const std::byte* high = p + 128 + 32 * half;
      const std::byte* scales = p + 192 + 8 * half;
      for (std::int64_t run = 0; run < 4; ++run, out += kSmallBlock) {
        for (std::int64_t i = 0; i < kSmallBlock; ++i) {
          const int bytes = byte_at(low, run % 2 * kSmallBlock + i);
          const int digit = (run < 2 ? bytes & 15 : bytes >> 4) | (byte_at(high, i) >> (2 * run) & 3) << 4;
          const float d = scale * static_cast<float>(static_cast<std::int8_t>(byte_at(scales, 2 * run + i / 16)));
          out[i] = d * static_cast<float>(digit - 32);
        }
      }
    }
  }
}

constexpr std::array<GgufType, 7> kTypes = {{
    {0, "F32", 1, 4, from_f32},
    {1, "F16", 1, 2, from_f16},
    {2, "Q4_0", kSmallBlock, 18, from_q4_0},
    {8, "Q8_0", kSmallBlock, 34, from_q8_0},
    {12, "Q4_K", kSuperBlock, 144, from_q4_k},
    {14, "Q6_K", kSuperBlock, 210, from_q6_k},
    {30, "BF16", 1, 2, from_bf16},
}};

}  // namespace

const GgufType* find_gguf_type(std::uint32_t id) {
  const auto found = std::ranges::find(kTypes, id, &GgufType::id);
  return found == kTypes.end() ? nullptr : &*found;
}

}  // namespace mobula::nn
