// The kernels in terms of 16-wide vectors, which the compiler maps to whatever the including file is compiled for. All of it
// lies in an unnamed namespace and nothing of the standard library's templates is used, so that no function compiled for a
// newer processor can be picked by the linker for another file.
#pragma once

#include <math.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "mobula/nn/decoder/cpu_kernels.hpp"

namespace mobula::nn {
namespace {

using i64 = std::int64_t;
constexpr i64 kLanes = 16;
typedef float Vec __attribute__((vector_size(64)));
typedef std::int32_t IntVec __attribute__((vector_size(64)));
typedef std::uint16_t HalfVec __attribute__((vector_size(32)));

inline i64 round_up(i64 n, i64 step) {
  return (n + step - 1) / step * step;
}

inline Vec load(const float* p) {
  Vec v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Vec v) {
  memcpy(p, &v, sizeof v);
}
inline Vec splat(float x) {
  return Vec{} + x;
}
inline Vec load_part(const float* p, i64 n) {
  Vec v{};
  memcpy(&v, p, static_cast<size_t>(n) * sizeof(float));
  return v;
}
inline Vec load_bf16(const std::uint16_t* p) {
  HalfVec half;
  memcpy(&half, p, sizeof half);
  const IntVec wide = __builtin_convertvector(half, IntVec) << 16;
  Vec v;
  memcpy(&v, &wide, sizeof v);
  return v;
}
inline Vec select(IntVec mask, Vec yes, Vec no) {
  IntVec a, b;
  memcpy(&a, &yes, sizeof a);
  memcpy(&b, &no, sizeof b);
  const IntVec bits = (a & mask) | (b & ~mask);
  Vec v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
inline Vec max(Vec a, Vec b) {
  return select(a > b, a, b);
}

// Adds the lanes up in a fixed tree: each step adds the upper half to the lower.
#if defined(__AVX512F__)
inline float sum(Vec v) {
  return _mm512_reduce_add_ps(reinterpret_cast<__m512>(v));
}
inline float largest(Vec v) {
  return _mm512_reduce_max_ps(reinterpret_cast<__m512>(v));
}
#else
inline float sum(Vec v) {
  float t[kLanes];
  memcpy(t, &v, sizeof t);
  for (i64 step = kLanes / 2; step > 0; step /= 2) {
    for (i64 i = 0; i < step; ++i) t[i] += t[i + step];
  }
  return t[0];
}
inline float largest(Vec v) {
  float t[kLanes];
  memcpy(t, &v, sizeof t);
  float m = t[0];
  for (i64 i = 1; i < kLanes; ++i) m = t[i] > m ? t[i] : m;
  return m;
}
#endif

// e^x within 2 ulp; 0 below the smallest normal number. Cody-Waite reduction and a polynomial of degree 6 on
// [-ln 2 / 2, ln 2 / 2].
inline Vec exp_of(Vec x) {
  const Vec clamped = select(x > splat(88.7f), splat(88.7f), select(x < splat(-87.3f), splat(-87.3f), x));
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Vec whole = (clamped * 1.44269504f + kRound) - kRound;
  const Vec r = (clamped - whole * 0.693359375f) - whole * -2.12194440e-4f;
  Vec p = splat(1.0f / 720);
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  IntVec bits;
  memcpy(&bits, &p, sizeof bits);
  bits += __builtin_convertvector(whole, IntVec) << 23;
  Vec result;
  memcpy(&result, &bits, sizeof result);
  return select(x < splat(-87.3f), Vec{}, result);
}

inline Vec tanh_of(Vec x) {
  return 1.0f - 2.0f / (exp_of(2.0f * x) + 1.0f);
}

// ---- Matrix products: lanes run along the inputs; x is packed into rows padded with zeros to whole vectors. ----

template <class Weight>
Vec load_weight(const Weight* p);
template <>
inline Vec load_weight<float>(const float* p) {
  return load(p);
}
template <>
inline Vec load_weight<std::uint16_t>(const std::uint16_t* p) {
  return load_bf16(p);
}

// What the weights are multiplied with must have been rounded as they were.
inline float round_to_bf16(float x) {
  std::uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if (x != x) return x;
  bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000u;
  memcpy(&x, &bits, sizeof x);
  return x;
}

inline std::size_t packed_rows_bytes(i64 num_rows, i64 num_in) {
  return static_cast<std::size_t>(num_rows * round_up(num_in, kLanes)) * sizeof(float);
}

template <bool kRound>
void pack_rows(const float* x, i64 stride, i64 num_rows, i64 num_in, void* packed) {
  const i64 padded = round_up(num_in, kLanes);
  for (i64 row = 0; row < num_rows; ++row) {
    float* out = static_cast<float*>(packed) + row * padded;
    for (i64 i = 0; i < num_in; ++i) out[i] = kRound ? round_to_bf16(x[row * stride + i]) : x[row * stride + i];
    for (i64 i = num_in; i < padded; ++i) out[i] = 0.0f;
  }
}

// Computes kOuts outputs of kRows rows.
template <class Weight, int kOuts, int kRows>
inline void dot_block(const float* x, i64 padded, const Weight* w, i64 num_in, const float* bias, float* y,
                      i64 y_stride) {
  Vec acc[kOuts][kRows] = {};
  i64 i = 0;
  for (; i + kLanes <= num_in; i += kLanes) {
    Vec xs[kRows];
    for (int r = 0; r < kRows; ++r) xs[r] = load(x + r * padded + i);
    for (int o = 0; o < kOuts; ++o) {
      const Vec ws = load_weight(w + o * num_in + i);
      for (int r = 0; r < kRows; ++r) acc[o][r] += ws * xs[r];
    }
  }
  if (i < num_in) {
    for (int o = 0; o < kOuts; ++o) {
      Weight tail[kLanes] = {};
      memcpy(tail, w + o * num_in + i, static_cast<size_t>(num_in - i) * sizeof(Weight));
      const Vec ws = load_weight(tail);
      for (int r = 0; r < kRows; ++r) acc[o][r] += ws * load(x + r * padded + i);
    }
  }
  for (int o = 0; o < kOuts; ++o) {
    for (int r = 0; r < kRows; ++r) y[r * y_stride + o] = sum(acc[o][r]) + (bias != nullptr ? bias[o] : 0.0f);
  }
}

template <class Weight, int kOuts, int kRows>
inline void dot_rows(const float* x, i64 padded, i64 num_rows, const Weight* w, i64 num_in, const float* bias, float* y,
                     i64 y_stride) {
  i64 row = 0;
  for (; row + kRows <= num_rows; row += kRows) {
    dot_block<Weight, kOuts, kRows>(x + row * padded, padded, w, num_in, bias, y + row * y_stride, y_stride);
  }
  for (; row < num_rows; ++row) {
    dot_block<Weight, kOuts, 1>(x + row * padded, padded, w, num_in, bias, y + row * y_stride, y_stride);
  }
}

// kOuts x kRows accumulators stay in registers; kTile outputs share the second-level cache while all rows pass by.
template <class Weight, int kOuts, int kRows>
void run_dot(const void* packed, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y, i64 y_stride) {
  constexpr i64 kTile = 64;
  const auto* x = static_cast<const float*>(packed);
  const auto* w = static_cast<const Weight*>(weight.data);
  const i64 num_in = weight.num_in;
  const i64 padded = round_up(num_in, kLanes);
  const auto bias_at = [&](i64 out) { return weight.bias == nullptr ? nullptr : weight.bias + out; };
  for (i64 tile = begin; tile < end; tile += kTile) {
    const i64 tile_end = tile + kTile < end ? tile + kTile : end;
    for (i64 row = 0; row < num_rows; row += kRows) {
      const i64 count = num_rows - row < kRows ? num_rows - row : kRows;
      i64 out = tile;
      for (; out + kOuts <= tile_end; out += kOuts) {
        dot_rows<Weight, kOuts, kRows>(x + row * padded, padded, count, w + out * num_in, num_in, bias_at(out),
                                       y + row * y_stride + out, y_stride);
      }
      for (; out < tile_end; ++out) {
        dot_rows<Weight, 1, kRows>(x + row * padded, padded, count, w + out * num_in, num_in, bias_at(out),
                                   y + row * y_stride + out, y_stride);
      }
    }
  }
}

// ---- Rows ----

// Adds up f(0..n) in 16 lanes and then in a tree.
template <class F>
inline float sum_over(const float* x, i64 n, F f) {
  Vec acc{};
  i64 i = 0;
  for (; i + kLanes <= n; i += kLanes) acc += f(load(x + i));
  if (i < n) {
    Vec last = f(load_part(x + i, n - i));
    for (i64 lane = n - i; lane < kLanes; ++lane) last[lane] = 0.0f;
    acc += last;
  }
  return sum(acc);
}

void layer_norm(const float* x, const float* weight, const float* bias, i64 n, float eps, float* out) {
  const float mean = sum_over(x, n, [](Vec v) { return v; }) / static_cast<float>(n);
  const float variance = sum_over(x, n, [mean](Vec v) { return (v - mean) * (v - mean); }) / static_cast<float>(n);
  const float factor = 1.0f / sqrtf(variance + eps);
  for (i64 i = 0; i < n; ++i) {
    const float scaled = (x[i] - mean) * factor * (weight != nullptr ? weight[i] : 1.0f);
    out[i] = bias != nullptr ? scaled + bias[i] : scaled;
  }
}

void rms_norm(const float* x, const float* weight, float offset, i64 n, float eps, float* out) {
  const float mean = sum_over(x, n, [](Vec v) { return v * v; }) / static_cast<float>(n);
  const float factor = 1.0f / sqrtf(mean + eps);
  for (i64 i = 0; i < n; ++i) out[i] = x[i] * factor * (weight[i] + offset);
}

template <class F>
inline void for_each_vector(float* x, i64 n, F f) {
  i64 i = 0;
  for (; i + kLanes <= n; i += kLanes) store(x + i, f(load(x + i)));
  if (i < n) {
    const Vec last = f(load_part(x + i, n - i));
    memcpy(x + i, &last, static_cast<size_t>(n - i) * sizeof(float));
  }
}

void activate(Activation activation, float* x, i64 n) {
  switch (activation) {
    case Activation::gelu:
      for (i64 i = 0; i < n; ++i) x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f));
      return;
    case Activation::gelu_tanh:
      for_each_vector(x, n,
                      [](Vec v) { return 0.5f * v * (1.0f + tanh_of(0.79788456f * (v + 0.044715f * v * v * v))); });
      return;
    case Activation::quick_gelu:
      for_each_vector(x, n, [](Vec v) { return v / (1.0f + exp_of(-1.702f * v)); });
      return;
    case Activation::relu:
      for_each_vector(x, n, [](Vec v) { return max(v, Vec{}); });
      return;
    case Activation::silu:
      for_each_vector(x, n, [](Vec v) { return v / (1.0f + exp_of(-v)); });
      return;
  }
}

double log_sum_exp(const float* x, i64 n) {
  Vec biggest = splat(-INFINITY);
  i64 i = 0;
  for (; i + kLanes <= n; i += kLanes) biggest = max(biggest, load(x + i));
  float top = largest(biggest);
  for (; i < n; ++i) top = x[i] > top ? x[i] : top;
  // Many small numbers are added up: in runs of 1024 in single, then in double precision.
  double total = 0;
  for (i64 run = 0; run < n; run += 1024) {
    const i64 count = n - run < 1024 ? n - run : 1024;
    total += static_cast<double>(sum_over(x + run, count, [top](Vec v) { return exp_of(v - top); }));
  }
  return static_cast<double>(top) + log(total);
}

}  // namespace
}  // namespace mobula::nn
