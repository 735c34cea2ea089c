// Products with weights of 8 and 4 bits: whole groups in integers, then floats. A lane is an output: 16 of them, four inputs
// each, lie in one vector (see WeightView), so that nothing is added up across lanes. Included after vector_kernels.hpp.
#pragma once

#include "mobula/nn/decoder/vector_kernels.hpp"

namespace mobula::nn {
namespace {

constexpr i64 kQuads = kQuantGroup / 4;  // of inputs, in a group

// How a row of x lies packed: bytes of all groups, one scale a group, one sum of the bytes a group.
struct QuantizedRows {
  i64 num_groups;
  i64 stride;  // bytes from row to row

  explicit QuantizedRows(i64 num_in)
      : num_groups(round_up(num_in, kQuantGroup) / kQuantGroup), stride(round_up(num_groups * (kQuantGroup + 8), 64)) {}
  const std::int8_t* values(const void* row) const { return static_cast<const std::int8_t*>(row); }
  const float* scales(const void* row) const {
    return reinterpret_cast<const float*>(static_cast<const char*>(row) + num_groups * kQuantGroup);
  }
  const std::int32_t* sums(const void* row) const {
    return reinterpret_cast<const std::int32_t*>(scales(row) + num_groups);
  }
};

inline std::size_t packed_quantized_bytes(i64 num_rows, i64 num_in) {
  return static_cast<std::size_t>(num_rows * QuantizedRows(num_in).stride);
}

void pack_quantized(const float* x, i64 stride, i64 num_rows, i64 num_in, void* packed) {
  typedef std::int8_t ByteVec __attribute__((vector_size(16)));
  constexpr i64 kVecs = kQuantGroup / kLanes;
  const QuantizedRows rows(num_in);
  for (i64 r = 0; r < num_rows; ++r) {
    char* row = static_cast<char*>(packed) + r * rows.stride;
    auto* values = reinterpret_cast<std::int8_t*>(row);
    auto* scales = const_cast<float*>(rows.scales(row));
    auto* sums = const_cast<std::int32_t*>(rows.sums(row));
    for (i64 g = 0; g < rows.num_groups; ++g) {
      const float* group = x + r * stride + g * kQuantGroup;
      const i64 count = num_in - g * kQuantGroup < kQuantGroup ? num_in - g * kQuantGroup : kQuantGroup;
      Vec v[kVecs], biggest{}, strange{};
      for (i64 i = 0; i < kVecs; ++i) {
        const i64 left = count - i * kLanes;
        v[i] = left >= kLanes ? load(group + i * kLanes) : left > 0 ? load_part(group + i * kLanes, left) : Vec{};
        biggest = max(biggest, max(v[i], -v[i]));
        strange += v[i] - v[i];
      }
      // What is no number, or infinite, must stay visible in the result.
      const float odd = sum(strange);
      const float top = odd == 0.0f ? largest(biggest) : 0.0f;
      const float inverse = top > 0.0f ? 127.0f / top : 0.0f;
      scales[g] = odd == 0.0f ? top / 127.0f : NAN;
      std::int32_t total = 0;
      for (i64 i = 0; i < kVecs; ++i) {
        constexpr float kRound = 12582912.0f;
        const Vec rounded = odd == 0.0f ? (v[i] * inverse + kRound) - kRound : Vec{};
        const IntVec whole = __builtin_convertvector(rounded, IntVec);
        const ByteVec bytes = __builtin_convertvector(whole, ByteVec);
        memcpy(values + g * kQuantGroup + i * kLanes, &bytes, sizeof bytes);
        for (i64 lane = 0; lane < kLanes; ++lane) total += whole[lane];
      }
      sums[g] = total;
    }
  }
}

// 16 outputs' weights for four inputs each; what they are `zero` too large is taken off beforehand or at once.
#if defined(__AVX512VNNI__)
using QuadVec = __m512i;
template <int kZero>
inline QuadVec quads_of(__m512i bytes) {
  return bytes;
}
inline __m512i load_bytes(const std::uint8_t* p) {
  return _mm512_loadu_si512(p);
}
inline __m512i low_digits(__m512i bytes) {
  return _mm512_and_si512(bytes, _mm512_set1_epi8(15));
}
inline __m512i high_digits(__m512i bytes) {
  return _mm512_and_si512(_mm512_srli_epi16(bytes, 4), _mm512_set1_epi8(15));
}
template <int kZero>
inline IntVec start_of(std::int32_t sum) {
  return reinterpret_cast<IntVec>(_mm512_set1_epi32(-kZero * sum));
}
inline IntVec add_products(IntVec total, QuadVec w, std::int32_t x) {
  return reinterpret_cast<IntVec>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(total), w, _mm512_set1_epi32(x)));
}
#elif defined(__AVX2__)
struct QuadVec {
  __m256i half[2];
};
template <int kZero>
inline QuadVec quads_of(QuadVec bytes) {
  const __m256i zero = _mm256_set1_epi8(static_cast<char>(kZero));
  return {{_mm256_sub_epi8(bytes.half[0], zero), _mm256_sub_epi8(bytes.half[1], zero)}};
}
inline QuadVec load_bytes(const std::uint8_t* p) {
  const auto* q = reinterpret_cast<const __m256i*>(p);
  return {{_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)}};
}
inline QuadVec low_digits(QuadVec bytes) {
  const __m256i low = _mm256_set1_epi8(15);
  return {{_mm256_and_si256(bytes.half[0], low), _mm256_and_si256(bytes.half[1], low)}};
}
inline QuadVec high_digits(QuadVec bytes) {
  const __m256i low = _mm256_set1_epi8(15);
  return {{_mm256_and_si256(_mm256_srli_epi16(bytes.half[0], 4), low),
           _mm256_and_si256(_mm256_srli_epi16(bytes.half[1], 4), low)}};
}
template <int kZero>
inline IntVec start_of(std::int32_t) {
  return IntVec{};
}
inline IntVec add_products(IntVec total, QuadVec w, std::int32_t x) {
  // |w| * (x with w's sign): no pair of products exceeds 16 bits, because neither operand is -128.
  const __m256i xs = _mm256_set1_epi32(x), ones = _mm256_set1_epi16(1);
  __m256i sums[2];
  for (int h = 0; h < 2; ++h) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w.half[h]), _mm256_sign_epi8(xs, w.half[h]));
    sums[h] = _mm256_madd_epi16(pairs, ones);
  }
  IntVec added;
  memcpy(&added, sums, sizeof added);
  return total + added;
}
#else
struct QuadVec {
  std::int32_t value[kLanes][4];
};
struct Bytes {
  std::uint8_t value[kLanes * 4];
};
template <int kZero>
inline QuadVec quads_of(Bytes bytes) {
  QuadVec w;
  for (i64 lane = 0; lane < kLanes; ++lane) {
    for (i64 i = 0; i < 4; ++i) w.value[lane][i] = bytes.value[lane * 4 + i] - kZero;
  }
  return w;
}
inline Bytes load_bytes(const std::uint8_t* p) {
  Bytes bytes;
  memcpy(&bytes, p, sizeof bytes);
  return bytes;
}
inline Bytes low_digits(Bytes bytes) {
  for (std::uint8_t& byte : bytes.value) byte &= 15;
  return bytes;
}
inline Bytes high_digits(Bytes bytes) {
  for (std::uint8_t& byte : bytes.value) byte = static_cast<std::uint8_t>(byte >> 4);
  return bytes;
}
template <int kZero>
inline IntVec start_of(std::int32_t) {
  return IntVec{};
}
inline IntVec add_products(IntVec total, const QuadVec& w, std::int32_t x) {
  std::int8_t xs[4];
  memcpy(xs, &x, sizeof xs);
  for (i64 lane = 0; lane < kLanes; ++lane) {
    for (i64 i = 0; i < 4; ++i) total[lane] += w.value[lane][i] * xs[i];
  }
  return total;
}
#endif

inline std::int32_t quad_at(const std::int8_t* p) {
  std::int32_t quad;
  memcpy(&quad, p, sizeof quad);
  return quad;
}

struct EightBits {
  static constexpr i64 kGroupBytes = kQuantGroup * kLanes;  // of 16 outputs
  static constexpr int kZero = 128;
  template <int kBlocks, int kRows, bool kFetch>
  static void add_group(const std::uint8_t* w, i64 block_bytes, const std::int8_t* x, i64 x_stride,
                        IntVec (*totals)[kRows]) {
    for (i64 q = 0; q < kQuads; ++q) {
      for (int b = 0; b < kBlocks; ++b) {
        const std::uint8_t* at = w + b * block_bytes + q * 4 * kLanes;
        if (kFetch) __builtin_prefetch(at + kBlocks * block_bytes, 0, 2);
        const QuadVec ws = quads_of<kZero>(load_bytes(at));
        for (int r = 0; r < kRows; ++r)
          totals[b][r] = add_products(totals[b][r], ws, quad_at(x + r * x_stride + 4 * q));
      }
    }
  }
};
struct FourBits {
  static constexpr i64 kGroupBytes = kQuantGroup * kLanes / 2;
  static constexpr int kZero = 8;
  template <int kBlocks, int kRows, bool kFetch>
  static void add_group(const std::uint8_t* w, i64 block_bytes, const std::int8_t* x, i64 x_stride,
                        IntVec (*totals)[kRows]) {
    for (i64 q = 0; q < kQuads / 2; ++q) {
      for (int b = 0; b < kBlocks; ++b) {
        const std::uint8_t* at = w + b * block_bytes + q * 4 * kLanes;
        if (kFetch) __builtin_prefetch(at + kBlocks * block_bytes, 0, 2);
        const auto bytes = load_bytes(at);
        const QuadVec low = quads_of<kZero>(low_digits(bytes)), high = quads_of<kZero>(high_digits(bytes));
        for (int r = 0; r < kRows; ++r) {
          const std::int8_t* xs = x + r * x_stride + 4 * q;
          totals[b][r] = add_products(totals[b][r], low, quad_at(xs));
          totals[b][r] = add_products(totals[b][r], high, quad_at(xs + kQuantGroup / 2));
        }
      }
    }
  }
};

// kBlocks blocks of 16 outputs, kRows rows. The first rows that pass wait for memory: with kFetch, the blocks after these are
// fetched meanwhile (an address past the end is ignored). A group's products are added up exactly, the groups in their order: neither
// number changes a result.
template <class Bits, int kBlocks, int kRows, bool kFetch>
inline void quantized_blocks(const QuantizedRows& rows, const char* x, const std::uint8_t* w, const float* scales,
                             const float* bias, i64 num_outs, float* y, i64 y_stride) {
  const i64 groups = rows.num_groups;
  Vec acc[kBlocks][kRows] = {};
  for (i64 g = 0; g < groups; ++g) {
    IntVec totals[kBlocks][kRows];
    for (int r = 0; r < kRows; ++r) {
      const IntVec start = start_of<Bits::kZero>(rows.sums(x + r * rows.stride)[g]);
      for (int b = 0; b < kBlocks; ++b) totals[b][r] = start;
    }
    Bits::template add_group<kBlocks, kRows, kFetch>(w + g * Bits::kGroupBytes, groups * Bits::kGroupBytes,
                                                     rows.values(x) + g * kQuantGroup, rows.stride, totals);
    for (int b = 0; b < kBlocks; ++b) {
      const Vec ws = load(scales + (b * groups + g) * kLanes);
      for (int r = 0; r < kRows; ++r) {
        const Vec factors = ws * rows.scales(x + r * rows.stride)[g];
        acc[b][r] += __builtin_convertvector(totals[b][r], Vec) * factors;
      }
    }
  }
  for (int b = 0; b < kBlocks; ++b) {
    const i64 left = num_outs - b * kLanes, count = left < kLanes ? left : kLanes;
    Vec shift{};
    if (bias != nullptr) shift = load_part(bias + b * kLanes, count);
    for (int r = 0; r < kRows; ++r) {
      const Vec result = acc[b][r] + shift;
      memcpy(y + r * y_stride + b * kLanes, &result, static_cast<size_t>(count) * sizeof(float));
    }
  }
}

template <class Bits, int kBlocks, int kRows>
inline void quantized_rows(const QuantizedRows& rows, const char* x, i64 num_rows, const std::uint8_t* w,
                           const float* scales, const float* bias, i64 num_outs, float* y, i64 y_stride) {
  i64 row = 0;
  for (; row + kRows <= num_rows; row += kRows) {
    const auto run =
        row == 0 ? quantized_blocks<Bits, kBlocks, kRows, true> : quantized_blocks<Bits, kBlocks, kRows, false>;
    run(rows, x + row * rows.stride, w, scales, bias, num_outs, y + row * y_stride, y_stride);
  }
  for (; row < num_rows; ++row) {
    const auto run = row == 0 ? quantized_blocks<Bits, kBlocks, 1, true> : quantized_blocks<Bits, kBlocks, 1, false>;
    run(rows, x + row * rows.stride, w, scales, bias, num_outs, y + row * y_stride, y_stride);
  }
}

template <class Bits, int kRows>
void run_quantized(const void* packed, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y,
                   i64 y_stride) {
  const QuantizedRows rows(weight.num_in);
  const auto* x = static_cast<const char*>(packed);
  const i64 groups = rows.num_groups;
  const auto at = [&](i64 out, auto run) {
    const i64 block = out / kLanes;
    run(rows, x, num_rows, static_cast<const std::uint8_t*>(weight.data) + block * groups * Bits::kGroupBytes,
        weight.scales + block * groups * kLanes, weight.bias == nullptr ? nullptr : weight.bias + out, end - out,
        y + out, y_stride);
  };
  i64 out = begin;
  for (; out + kLanes < end; out += 2 * kLanes) at(out, quantized_rows<Bits, 2, kRows>);
  if (out < end) at(out, quantized_rows<Bits, 1, kRows>);
}

}  // namespace
}  // namespace mobula::nn
