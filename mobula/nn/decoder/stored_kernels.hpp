// Products with weights of 8 and 4 bits where they lie in a checkpoint, output after output, so that opening one needs no more
// than a map; to the bit what quantized_kernels.hpp makes of the same weights in blocks.
//
// One row: vectors run along the inputs, and those of 16 outputs are added up together. More rows: 16 outputs are turned into a
// block, and all rows pass by.
#pragma once

#include "mobula/nn/decoder/quantized_kernels.hpp"
#include "mobula/nn/decoder/thread_buffer.hpp"

namespace mobula::nn {
namespace {

constexpr i64 kTurned = 8;  // columns that are turned at a time

// Reads kTurned numbers of 32 bits of each of 16 rows, `stride` bytes apart: columns[i] gets the i-th of all rows.
#if defined(__AVX512F__)
inline void turn(const void* rows, i64 stride, IntVec (&columns)[kTurned]) {
  const auto row = [&](i64 r) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(static_cast<const char*>(rows) + r * stride));
  };
  __m512i v[kTurned], pairs[kTurned], fours[kTurned];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const int r = i < 4 ? i : i + 4;
    v[i] = _mm512_inserti64x4(_mm512_castsi256_si512(row(r)), row(r + 4), 1);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const int at = i / 2 * 4 + i % 2;
    fours[i / 2 * 4 + i % 2 * 2] = _mm512_unpacklo_epi64(pairs[at], pairs[at + 2]);
    fours[i / 2 * 4 + i % 2 * 2 + 1] = _mm512_unpackhi_epi64(pairs[at], pairs[at + 2]);
  }
  // fours[4 * a + b] holds column b of rows 8 * a to 8 * a + 3, column 4 + b of them, then the same of the next four rows.
#pragma GCC unroll 4
  for (int b = 0; b < 4; ++b) {
    columns[b] = reinterpret_cast<IntVec>(_mm512_shuffle_i32x4(fours[b], fours[4 + b], 0x88));
    columns[4 + b] = reinterpret_cast<IntVec>(_mm512_shuffle_i32x4(fours[b], fours[4 + b], 0xDD));
  }
}
#elif defined(__AVX2__)
inline void turn(const void* rows, i64 stride, IntVec (&columns)[kTurned]) {
  __m256i turned[kTurned][2];
  for (int half = 0; half < 2; ++half) {
    const char* const first = static_cast<const char*>(rows) + half * 8 * stride;
    __m256i v[kTurned], pairs[kTurned], fours[kTurned];
    for (int i = 0; i < 8; ++i) v[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first + i * stride));
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
      const int at = i / 2 * 4 + i % 2;
      fours[i / 2 * 4 + i % 2 * 2] = _mm256_unpacklo_epi64(pairs[at], pairs[at + 2]);
      fours[i / 2 * 4 + i % 2 * 2 + 1] = _mm256_unpackhi_epi64(pairs[at], pairs[at + 2]);
    }
    // fours[4 * a + b] holds column b of rows 4 * a to 4 * a + 3, then column 4 + b of them.
    for (int b = 0; b < 4; ++b) {
      turned[b][half] = _mm256_permute2x128_si256(fours[b], fours[4 + b], 0x20);
      turned[4 + b][half] = _mm256_permute2x128_si256(fours[b], fours[4 + b], 0x31);
    }
  }
  memcpy(columns, turned, sizeof turned);
}
#else
inline void turn(const void* rows, i64 stride, IntVec (&columns)[kTurned]) {
  for (i64 r = 0; r < kLanes; ++r) {
    std::int32_t row[kTurned];
    memcpy(row, static_cast<const char*>(rows) + r * stride, sizeof row);
    for (i64 i = 0; i < kTurned; ++i) columns[i][r] = row[i];
  }
}
#endif

inline Vec as_floats(IntVec bits) {
  Vec v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
// What the low 16 bits of each number say.
inline Vec widen_bf16(IntVec halves) {
  return as_floats(halves << 16);
}
inline Vec widen_fp16(IntVec halves) {
  // Multiplying moves the exponent's zero and makes normal numbers of those that weren't; 31 means infinite or no number.
  const Vec size = as_floats((halves & 0x7FFF) << 13) * 0x1p112f;
  IntVec bits;
  memcpy(&bits, &size, sizeof bits);
  bits |= ((halves & 0x7C00) == 0x7C00) & 0x7F800000;
  return as_floats(bits | (halves & 0x8000) << 16);
}

constexpr i64 kScaledGroups = 16;  // whose scales are read at a time

// Widens the scales of runs [first, first + kScaledGroups) of 16 outputs; those past the last run are anything.
inline void read_runs(const StoredScales& scales, i64 num_out, i64 out, i64 first, Vec (&runs)[kScaledGroups]) {
  const bool wide = scales.type == ScaleType::fp32;
  const i64 width = wide ? 4 : 2, bytes = kScaledGroups * width;
  const char* rows = static_cast<const char*>(scales.data) + (out * scales.num_runs + first) * width;
  i64 stride = scales.num_runs * width;
  char copy[kLanes * kScaledGroups * 4];
  if ((out + kLanes - 1) * scales.num_runs + first + kScaledGroups > num_out * scales.num_runs) {
    // The last outputs' end lies too near.
    const i64 count = scales.num_runs - first < kScaledGroups ? scales.num_runs - first : kScaledGroups;
    for (i64 r = 0; r < kLanes; ++r) memcpy(copy + r * bytes, rows + r * stride, static_cast<size_t>(count * width));
    rows = copy;
    stride = bytes;
  }
  IntVec columns[kTurned];
  if (wide) {
    for (i64 begin = 0; begin < kScaledGroups; begin += kTurned) {
      turn(rows + begin * width, stride, columns);
      for (i64 i = 0; i < kTurned; ++i) runs[begin + i] = as_floats(columns[i]);
    }
    return;
  }
  turn(rows, stride, columns);
  for (i64 i = 0; i < kTurned; ++i) {
    const IntVec low = columns[i] & 0xFFFF, high = columns[i] >> 16 & 0xFFFF;
    runs[2 * i] = scales.type == ScaleType::bf16 ? widen_bf16(low) : widen_fp16(low);
    runs[2 * i + 1] = scales.type == ScaleType::bf16 ? widen_bf16(high) : widen_fp16(high);
  }
}

// The same of groups: of each the scales of 16 outputs. Not inlined: what is rare in it would only stand in the way.
[[gnu::noinline]] inline void read_scales(const StoredScales& scales, i64 num_out, i64 out, i64 first,
                                          Vec (&groups)[kScaledGroups]) {
  if (scales.groups_each == 1) {
    read_runs(scales, num_out, out, first, groups);
    return;
  }
  Vec runs[kScaledGroups];
  const i64 run = first / scales.groups_each;
  read_runs(scales, num_out, out, run, runs);
  for (i64 i = 0; i < kScaledGroups; ++i) groups[i] = runs[(first + i) / scales.groups_each - run];
}

// 16 outputs' weights as they are stored.
struct StoredBlock {
  const std::byte* data;
  i64 stride;  // bytes from output to output
  i64 num_groups;
};

template <class Bits>
inline StoredBlock block_at(const WeightView& weight, i64 out) {
  const i64 groups = weight.num_in / kQuantGroup, stride = groups * Bits::kGroupBytes / kLanes;
  return {static_cast<const std::byte*>(weight.data) + out * stride, stride, groups};
}

// Writes the scales of 16 outputs as WeightView has those of a block.
inline void copy_scales(const WeightView& weight, i64 out, float* scales) {
  const i64 num_groups = weight.num_in / kQuantGroup;
  for (i64 first = 0; first < num_groups; first += kScaledGroups) {
    Vec groups[kScaledGroups];
    read_scales(weight.stored_scales, weight.num_out, out, first, groups);
    const i64 count = num_groups - first < kScaledGroups ? num_groups - first : kScaledGroups;
    for (i64 i = 0; i < count; ++i) store(scales + (first + i) * kLanes, groups[i]);
  }
}

// Lets a group's numbers of x lie as those of the weights do once their digits are spread: of 4 bits, the low halves of the bytes
// are the even inputs.
inline void order_group(EightBits, std::int8_t*) {}
inline void order_group(FourBits, std::int8_t* values) {
  std::int8_t odd[kQuantGroup / 2];
  for (i64 i = 0; i < kQuantGroup / 2; ++i) {
    odd[i] = values[2 * i + 1];
    values[i] = values[2 * i];
  }
  memcpy(values + kQuantGroup / 2, odd, sizeof odd);
}

template <class Bits>
void pack_stored_rows(const float* x, i64 stride, i64 num_rows, i64 num_in, void* packed) {
  pack_quantized(x, stride, num_rows, num_in, packed);
  const QuantizedRows rows(num_in);
  for (i64 r = 0; r < num_rows; ++r) {
    auto* values = static_cast<std::int8_t*>(packed) + r * rows.stride;
    for (i64 g = 0; g < rows.num_groups; ++g) order_group(Bits{}, values + g * kQuantGroup);
  }
}

// ---- One row ----

// group_totals() multiplies some groups of 16 outputs with one row and returns how many; the next block is fetched meanwhile.
// kRaw: the weights' digits were taken for what they are, without what they are too large.
#if defined(__AVX512VNNI__)
template <class Bits>
constexpr bool kRaw = true;

// From the quarters that each four outputs' sums lie in: of all four where kGroups is 1, else of the first and of the last two.
template <int kGroups>
inline void add_quarters(const __m512i (&fours)[4], IntVec (&totals)[2]) {
  __m512i halves[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    halves[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(fours[2 * i], fours[2 * i + 1], 0x88),
                                 _mm512_shuffle_i32x4(fours[2 * i], fours[2 * i + 1], 0xDD));
  }
  const __m512i first = _mm512_shuffle_i32x4(halves[0], halves[1], 0x88);
  const __m512i last = _mm512_shuffle_i32x4(halves[0], halves[1], 0xDD);
  totals[0] = reinterpret_cast<IntVec>(kGroups == 1 ? _mm512_add_epi32(first, last) : first);
  totals[1] = reinterpret_cast<IntVec>(last);
}

inline i64 group_totals(EightBits, const StoredBlock& w, i64 g, const std::int8_t* x, IntVec (&totals)[2]) {
  const __m512i xs = _mm512_loadu_si512(x);
  __m512i pairs[8], fours[4];
#pragma GCC unroll 8
  for (i64 i = 0; i < 8; ++i) {
    __m512i v[2];
#pragma GCC unroll 2
    for (i64 half = 0; half < 2; ++half) {
      const std::byte* at = w.data + (2 * i + half) * w.stride + g * kQuantGroup;
      __builtin_prefetch(at + kLanes * w.stride, 0, 2);
      v[half] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(at), xs);
    }
    pairs[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    fours[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(pairs[2 * i], pairs[2 * i + 1]),
                                _mm512_unpackhi_epi64(pairs[2 * i], pairs[2 * i + 1]));
  }
  add_quarters<1>(fours, totals);
  return 1;
}
// Two groups, one at the end where there is no second. Eight products of 15 * 127 fit into 16 bits, and twice as many do: sums are
// made of pairs of 16 bits.
inline i64 group_totals(FourBits, const StoredBlock& w, i64 g, const std::int8_t* x, IntVec (&totals)[2]) {
  const bool two = g + 1 < w.num_groups;
  const __mmask16 dwords = two ? 0xFFFF : 0x00FF;
  const __m512i first = _mm512_loadu_si512(x);
  const __m512i second = two ? _mm512_loadu_si512(x + kQuantGroup) : _mm512_setzero_si512();
  const __m512i even = _mm512_inserti64x4(first, _mm512_castsi512_si256(second), 1);
  const __m512i odd = _mm512_shuffle_i64x2(first, second, 0xEE);
  const __m512i ones = _mm512_set1_epi16(1);
  __m512i pairs[8], fours[4];
#pragma GCC unroll 8
  for (i64 i = 0; i < 8; ++i) {
    __m512i v[2];
#pragma GCC unroll 2
    for (i64 half = 0; half < 2; ++half) {
      const std::byte* at = w.data + (2 * i + half) * w.stride + g * kQuantGroup / 2;
      __builtin_prefetch(at + kLanes * w.stride, 0, 2);
      const __m512i bytes = _mm512_maskz_loadu_epi32(dwords, at);
      v[half] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), low_digits(bytes), even);
      v[half] = _mm512_dpbusd_epi32(v[half], high_digits(bytes), odd);
    }
    pairs[i] = _mm512_madd_epi16(_mm512_packs_epi32(v[0], v[1]), ones);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    fours[i] = _mm512_madd_epi16(_mm512_packs_epi32(pairs[2 * i], pairs[2 * i + 1]), ones);
  }
  add_quarters<2>(fours, totals);
  return two ? 2 : 1;
}
#elif defined(__AVX2__)
template <class Bits>
constexpr bool kRaw = false;
template <>
constexpr bool kRaw<FourBits> = true;

// From the halves that each four outputs' sums lie in.
inline void add_halves(const __m256i (&fours)[4], IntVec (&totals)[2]) {
  __m256i eights[2];
  for (int i = 0; i < 2; ++i) {
    eights[i] = _mm256_add_epi32(_mm256_permute2x128_si256(fours[2 * i], fours[2 * i + 1], 0x20),
                                 _mm256_permute2x128_si256(fours[2 * i], fours[2 * i + 1], 0x31));
  }
  memcpy(&totals[0], eights, sizeof eights);
}

inline i64 group_totals(EightBits, const StoredBlock& w, i64 g, const std::int8_t* x, IntVec (&totals)[2]) {
  const auto* xs = reinterpret_cast<const __m256i*>(x);
  const __m256i zero = _mm256_set1_epi8(static_cast<char>(EightBits::kZero)), ones = _mm256_set1_epi16(1);
  __m256i v[kLanes], pairs[8], fours[4];
#pragma GCC unroll 16
  for (i64 o = 0; o < kLanes; ++o) {
    const std::byte* at = w.data + o * w.stride + g * kQuantGroup;
    __builtin_prefetch(at + kLanes * w.stride, 0, 2);
    __m256i sums[2];
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256i ws = _mm256_sub_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at) + h), zero);
      // |w| * (x with w's sign): no pair of products exceeds 16 bits, because x is never -128.
      const __m256i signs = _mm256_sign_epi8(_mm256_loadu_si256(xs + h), ws);
      sums[h] = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(ws), signs), ones);
    }
    v[o] = _mm256_add_epi32(sums[0], sums[1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) pairs[i] = _mm256_hadd_epi32(v[2 * i], v[2 * i + 1]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) fours[i] = _mm256_hadd_epi32(pairs[2 * i], pairs[2 * i + 1]);
  add_halves(fours, totals);
  return 1;
}
// Sums are made of pairs of 16 bits, which eight products of 15 * 127 fit into, and twice as many.
inline i64 group_totals(FourBits, const StoredBlock& w, i64 g, const std::int8_t* x, IntVec (&totals)[2]) {
  const auto* xs = reinterpret_cast<const __m256i*>(x);
  const __m256i even = _mm256_loadu_si256(xs), odd = _mm256_loadu_si256(xs + 1);
  const __m256i ones = _mm256_set1_epi16(1), low = _mm256_set1_epi8(15);
  __m256i v[kLanes], pairs[8], fours[4];
#pragma GCC unroll 16
  for (i64 o = 0; o < kLanes; ++o) {
    const std::byte* at = w.data + o * w.stride + g * kQuantGroup / 2;
    __builtin_prefetch(at + kLanes * w.stride, 0, 2);
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    const __m256i products =
        _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_and_si256(bytes, low), even),
                         _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(bytes, 4), low), odd));
    v[o] = _mm256_madd_epi16(products, ones);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) pairs[i] = _mm256_madd_epi16(_mm256_packs_epi32(v[2 * i], v[2 * i + 1]), ones);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    fours[i] = _mm256_madd_epi16(_mm256_packs_epi32(pairs[2 * i], pairs[2 * i + 1]), ones);
  }
  add_halves(fours, totals);
  return 1;
}
#else
template <class Bits>
constexpr bool kRaw = true;

inline i64 group_totals(EightBits, const StoredBlock& w, i64 g, const std::int8_t* x, IntVec (&totals)[2]) {
  for (i64 o = 0; o < kLanes; ++o) {
    const auto* ws = reinterpret_cast<const std::uint8_t*>(w.data + o * w.stride + g * kQuantGroup);
    std::int32_t total = 0;
    for (i64 i = 0; i < kQuantGroup; ++i) total += ws[i] * x[i];
    totals[0][o] = total;
  }
  return 1;
}
inline i64 group_totals(FourBits, const StoredBlock& w, i64 g, const std::int8_t* x, IntVec (&totals)[2]) {
  constexpr i64 kHalf = kQuantGroup / 2;
  for (i64 o = 0; o < kLanes; ++o) {
    const auto* ws = reinterpret_cast<const std::uint8_t*>(w.data + o * w.stride + g * kHalf);
    std::int32_t total = 0;
    for (i64 i = 0; i < kHalf; ++i) total += (ws[i] & 15) * x[i] + (ws[i] >> 4) * x[kHalf + i];
    totals[0][o] = total;
  }
  return 1;
}
#endif

// One row by 16 outputs.
template <class Bits>
inline void one_row(const char* x, const WeightView& weight, i64 out, float* y) {
  const QuantizedRows rows(weight.num_in);
  const StoredBlock w = block_at<Bits>(weight, out);
  const float* const x_scales = rows.scales(x);
  Vec sum{};
  for (i64 first = 0; first < w.num_groups; first += kScaledGroups) {
    Vec scales[kScaledGroups];
    read_scales(weight.stored_scales, weight.num_out, out, first, scales);
    const i64 end = w.num_groups - first < kScaledGroups ? w.num_groups : first + kScaledGroups;
    for (i64 g = first; g < end;) {
      IntVec totals[2];
      const i64 count = group_totals(Bits{}, w, g, rows.values(x) + g * kQuantGroup, totals);
      for (i64 i = 0; i < count; ++i, ++g) {
        if (kRaw<Bits>) totals[i] -= Bits::kZero * rows.sums(x)[g];
        const Vec factors = scales[g - first] * x_scales[g];
        sum += __builtin_convertvector(totals[i], Vec) * factors;
      }
    }
  }
  Vec shift{};
  if (weight.bias != nullptr) shift = load(weight.bias + out);
  store(y + out, sum + shift);
}

// ---- Some rows ----

// Writes a block as quantized_kernels.hpp reads it, but for the order of the inputs in a group, and its scales; the next outputs are
// fetched meanwhile.
template <class Bits>
inline void turn_block(const WeightView& weight, i64 out, i64 num_next, std::uint8_t* data, float* scales) {
  const StoredBlock w = block_at<Bits>(weight, out);
  for (i64 at = 0; at < w.stride; at += 4 * kTurned) {
    if (at % 64 == 0) {
      for (i64 o = 0; o < kLanes; ++o) __builtin_prefetch(w.data + (num_next + o) * w.stride + at, 0, 2);
    }
    IntVec columns[kTurned];
    turn(w.data + at, w.stride, columns);
    memcpy(data + at * kLanes, columns, sizeof columns);
  }
  copy_scales(weight, out, scales);
}

template <class Bits, int kBlocks, int kRows>
inline void rows_by_turned_blocks(const char* x, i64 num_rows, const WeightView& weight, i64 out, float* y,
                                  i64 y_stride) {
  static thread_local ThreadBuffer buffer;
  const QuantizedRows rows(weight.num_in);
  const i64 block_bytes = rows.num_groups * Bits::kGroupBytes, num_scales = rows.num_groups * kLanes;
  auto* data = static_cast<std::uint8_t*>(
      buffer.sized(static_cast<size_t>(kBlocks * (block_bytes + num_scales * static_cast<i64>(sizeof(float))))));
  auto* scales = reinterpret_cast<float*>(data + kBlocks * block_bytes);
  for (i64 b = 0; b < kBlocks; ++b) {
    turn_block<Bits>(weight, out + b * kLanes, kBlocks * kLanes, data + b * block_bytes, scales + b * num_scales);
  }
  const float* bias = weight.bias == nullptr ? nullptr : weight.bias + out;
  i64 row = 0;
  for (; row + kRows <= num_rows; row += kRows) {
    quantized_blocks<Bits, kBlocks, kRows, false>(rows, x + row * rows.stride, data, scales, bias, kBlocks * kLanes,
                                                  y + row * y_stride + out, y_stride);
  }
  for (; row < num_rows; ++row) {
    quantized_blocks<Bits, kBlocks, 1, false>(rows, x + row * rows.stride, data, scales, bias, kBlocks * kLanes,
                                              y + row * y_stride + out, y_stride);
  }
}

template <class Bits, int kRows>
void run_stored(const void* packed, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y,
                i64 y_stride) {
  const auto* x = static_cast<const char*>(packed);
  if (num_rows == 1) {
    for (i64 out = begin; out < end; out += kLanes) one_row<Bits>(x, weight, out, y);
    return;
  }
  i64 out = begin;
  for (; out + kLanes < end; out += 2 * kLanes) {
    rows_by_turned_blocks<Bits, 2, kRows>(x, num_rows, weight, out, y, y_stride);
  }
  if (out < end) rows_by_turned_blocks<Bits, 1, kRows>(x, num_rows, weight, out, y, y_stride);
}

}  // namespace
}  // namespace mobula::nn
