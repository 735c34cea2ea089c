// Rounds weights to 8 and 4 bits, a block of 16 outputs at a time, as quantized_kernels.hpp reads them.
#pragma once

#include "mobula/nn/decoder/vector_kernels.hpp"

namespace mobula::nn {
namespace {

constexpr i64 kGroupVecs = kQuantGroup / kLanes;
typedef std::uint8_t ByteLanes __attribute__((vector_size(16)));

inline Vec load_numbers(const float* p, i64 count) {
  return count >= kLanes ? load(p) : count > 0 ? load_part(p, count) : Vec{};
}
inline Vec load_numbers(const std::uint16_t* p, i64 count) {
  if (count >= kLanes) return load_bf16(p);
  std::uint16_t part[kLanes] = {};
  if (count > 0) memcpy(part, p, static_cast<size_t>(count) * sizeof *p);
  return load_bf16(part);
}

inline std::int32_t smallest(IntVec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_min_epi32(reinterpret_cast<__m512i>(v));
#else
  std::int32_t least = v[0];
  for (i64 i = 1; i < kLanes; ++i) least = v[i] < least ? v[i] : least;
  return least;
#endif
}

// Rounds to the nearest, ties to even. Not by an addition where the product before it could become one operation with it.
inline IntVec nearest(Vec x) {
#if defined(__AVX512F__)
  return reinterpret_cast<IntVec>(_mm512_cvtps_epi32(reinterpret_cast<__m512>(x)));
#elif defined(__AVX2__)
  __m256 halves[2];
  memcpy(halves, &x, sizeof x);
  const __m256i whole[2] = {_mm256_cvtps_epi32(halves[0]), _mm256_cvtps_epi32(halves[1])};
  IntVec result;
  memcpy(&result, whole, sizeof result);
  return result;
#else
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23
  return __builtin_convertvector((x + kRound) - kRound, IntVec);
#endif
}

// Returns the first of the numbers whose magnitude is `top`.
inline float first_of(const Vec (&v)[kGroupVecs], float top) {
  const IntVec lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  IntVec places = IntVec{} + static_cast<std::int32_t>(2 * kQuantGroup);
  for (i64 i = 0; i < kGroupVecs; ++i) {
    // Twice the place, and one more for a negative number.
    const IntVec place = (lanes + static_cast<std::int32_t>(i * kLanes)) * 2 - (v[i] < 0.0f);
    const IntVec is_top = max(v[i], -v[i]) == splat(top);
    const IntVec mine = (place & is_top) | ((IntVec{} + static_cast<std::int32_t>(2 * kQuantGroup)) & ~is_top);
    places = (mine < places) ? mine : places;
  }
  return (smallest(places) & 1) != 0 ? -top : top;
}

// Rounds a group to bytes, each `kZero` too large, and returns its scale: NaN where a number is none or infinite.
template <int kZero>
inline float round_weights(const Vec (&v)[kGroupVecs], std::uint8_t* digits) {
  Vec biggest{}, strange{};
  for (i64 i = 0; i < kGroupVecs; ++i) {
    biggest = max(biggest, max(v[i], -v[i]));
    strange += v[i] - v[i];
  }
  const bool finite = sum(strange) == 0.0f;
  const float top = finite ? largest(biggest) : 0.0f;
  float scale, inverse;
  if (kZero == 128) {
    scale = top / 127.0f;
    inverse = top > 0.0f ? 127.0f / top : 0.0f;
  } else {
    // The largest one is met exactly: 4 bits reach further down than up.
    const float extreme = top > 0.0f ? first_of(v, top) : 0.0f;
    scale = extreme / -8.0f;
    inverse = top > 0.0f ? -8.0f / extreme : 0.0f;
  }
  for (i64 i = 0; i < kGroupVecs; ++i) {
    IntVec whole = (finite ? nearest(v[i] * inverse) : IntVec{}) + kZero;
    if (kZero == 8) {
      const IntVec most = IntVec{} + 15;
      whole = (whole > most) ? most : whole;
    }
    const ByteLanes bytes = __builtin_convertvector(whole, ByteLanes);
    memcpy(digits + i * kLanes, &bytes, sizeof bytes);
  }
  return finite ? scale : NAN;
}

template <class Number, int kZero>
void round_rows(const Number* weights, i64 num_outs, i64 num_in, std::uint8_t* data, float* scales) {
  constexpr i64 kBytes = kZero == 128 ? kQuantGroup : kQuantGroup / 2;  // of a group and an output
  for (i64 first = 0; first < num_in; first += kQuantGroup, data += kBytes * kLanes, scales += kLanes) {
    std::uint8_t rows[kLanes][kQuantGroup];
    for (i64 out = 0; out < kLanes; ++out) {
      Vec v[kGroupVecs];
      for (i64 i = 0; i < kGroupVecs; ++i) {
        const i64 at = first + i * kLanes;
        v[i] = out < num_outs ? load_numbers(weights + out * num_in + at, num_in - at) : Vec{};
      }
      scales[out] = round_weights<kZero>(v, rows[out]);
      if (kZero == 8) {
        for (i64 i = 0; i < kBytes; ++i) {
          rows[out][i] = static_cast<std::uint8_t>(rows[out][i] | static_cast<unsigned>(rows[out][i + kBytes]) << 4);
        }
      }
    }
    for (i64 quad = 0; quad < kBytes / 4; ++quad) {
      for (i64 out = 0; out < kLanes; ++out) memcpy(data + (quad * kLanes + out) * 4, rows[out] + quad * 4, 4);
    }
  }
}

template <int kZero>
void round_block(const void* weights, bool half, i64 num_outs, i64 num_in, std::uint8_t* data, float* scales) {
  if (half) {
    round_rows<std::uint16_t, kZero>(static_cast<const std::uint16_t*>(weights), num_outs, num_in, data, scales);
  } else {
    round_rows<float, kZero>(static_cast<const float*>(weights), num_outs, num_in, data, scales);
  }
}

}  // namespace
}  // namespace mobula::nn
