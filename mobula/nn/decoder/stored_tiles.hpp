// Products with weights of 8 and 4 bits where they lie in a checkpoint, output after output, so that opening one needs no more
// than a map; to the bit what quantized_kernels.hpp makes of the same weights in blocks.
//
// One row: vectors run along the inputs, and those of 16 outputs are added up together. Fewer than 16: the weights are a tile's
// first operand, 16 outputs by one group, the rows of x the second. 16 rows: a block of outputs is turned into what
// quantized_tiles.hpp reads, and all of them pass by.
#pragma once

#include "mobula/nn/decoder/quantized_tiles.hpp"

namespace mobula::nn {
namespace {

// A group's numbers of x as one vector, in the order in which a row of weights has them once its digits are spread.
inline __m512i in_order_of(EightBits, __m512i bytes) {
  return bytes;
}
// The low halves of a row's bytes are the even inputs.
inline __m512i in_order_of(FourBits, __m512i bytes) {
  const __m256i even = _mm512_cvtepi16_epi8(bytes), odd = _mm512_cvtepi16_epi8(_mm512_srli_epi16(bytes, 8));
  return _mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1);
}

// How fewer than 16 rows lie packed: group after group [4 inputs][row][4 bytes], then group after group the rows' scales, then
// so the sums of their bytes.
struct StoredRows {
  i64 num_rows, num_groups;

  const std::byte* values(const void* packed, i64 group) const {
    return static_cast<const std::byte*>(packed) + group * num_rows * kQuantGroup;
  }
  const float* scales(const void* packed, i64 group) const {
    return reinterpret_cast<const float*>(values(packed, num_groups)) + group * num_rows;
  }
  const std::int32_t* sums(const void* packed, i64 group) const {
    return reinterpret_cast<const std::int32_t*>(scales(packed, num_groups)) + group * num_rows;
  }
};

// 16 whole rows lie as QuantizedTile says, those that are left as StoredRows.
template <class Bits>
void pack_stored(const float* x, i64 stride, i64 num_rows, i64 num_in, void* packed) {
  const QuantizedRows rows(num_in);
  const QuantizedTile tile(rows);
  const i64 groups = rows.num_groups, tiled = num_rows / kTileRows * kTileRows;
  const StoredRows rest{num_rows - tiled, groups};
  char* const tail = static_cast<char*>(packed) + tiled * rows.stride;
  for (i64 r = 0; r < num_rows; ++r) {
    char* base = static_cast<char*>(packed) + r / kTileRows * tile.stride;
    for (i64 g = 0; g < groups; ++g) {
      __m128i parts[4];
      __m512i total;
      const float scale = round_group(x + r * stride + g * kQuantGroup, num_in - g * kQuantGroup, parts, total);
      __m512i bytes = _mm512_castsi128_si512(parts[0]);
      bytes = _mm512_inserti32x4(bytes, parts[1], 1);
      bytes = _mm512_inserti32x4(bytes, parts[2], 2);
      bytes = in_order_of(Bits{}, _mm512_inserti32x4(bytes, parts[3], 3));
      if (r < tiled) {
        _mm512_storeu_si512(base + g * kTileBytes + r % kTileRows * kQuantGroup, bytes);
        const_cast<float*>(tile.scales(base))[g * kTileRows + r % kTileRows] = scale;
      } else {
        const i64 row = r - tiled;
        alignas(64) std::int32_t quads[kQuads];
        _mm512_store_si512(quads, bytes);
        auto* out = reinterpret_cast<std::int32_t*>(const_cast<std::byte*>(rest.values(tail, g))) + row;
        for (i64 q = 0; q < kQuads; ++q) out[q * rest.num_rows] = quads[q];
        const_cast<float*>(rest.scales(tail, g))[row] = scale;
        const_cast<std::int32_t*>(rest.sums(tail, g))[row] = _mm512_reduce_add_epi32(total);
      }
    }
  }
}

// 16 outputs' weights as they are stored.
struct StoredBlock {
  const std::byte* data;
  i64 stride;  // bytes from output to output
  i64 num_groups;
};

// Spreads the digits of 4 bits of two groups (of one at the end, where there is no second) into bytes: [output][input].
inline void spread_pair(const StoredBlock& w, i64 group, __m512i (&first)[kTileRows], __m512i (&second)[kTileRows]) {
  const __mmask16 dwords = group + 1 < w.num_groups ? 0xFFFF : 0x00FF;
#pragma GCC unroll 16
  for (i64 o = 0; o < kTileRows; ++o) {
    const __m512i bytes = _mm512_maskz_loadu_epi32(dwords, w.data + o * w.stride + group * kQuantGroup / 2);
    const __m512i low = low_digits(bytes), high = high_digits(bytes);
    first[o] = _mm512_inserti64x4(low, _mm512_castsi512_si256(high), 1);
    second[o] = _mm512_shuffle_i64x2(low, high, 0xEE);
  }
}

// Writes a group [output][input] as a tile [4 inputs][output][4], each number without what it was too large.
template <int kZero>
inline void write_turned(__m512i (&rows)[kTileRows], std::byte* panel) {
  transpose(rows);
  const __m512i zero = _mm512_set1_epi8(static_cast<char>(kZero));
  for (i64 q = 0; q < kQuads; ++q) _mm512_store_si512(panel + q * 64, _mm512_sub_epi8(rows[q], zero));
}

inline void copy_stored(EightBits, const StoredBlock& w, std::byte* panel) {
  for (i64 g = 0; g < w.num_groups; ++g) {
    __m512i rows[kTileRows];
    for (i64 o = 0; o < kTileRows; ++o) rows[o] = _mm512_loadu_si512(w.data + o * w.stride + g * kQuantGroup);
    write_turned<EightBits::kZero>(rows, panel + g * kTileBytes);
  }
}
inline void copy_stored(FourBits, const StoredBlock& w, std::byte* panel) {
  for (i64 g = 0; g < w.num_groups; g += 2) {
    __m512i first[kTileRows], second[kTileRows];
    spread_pair(w, g, first, second);
    write_turned<FourBits::kZero>(first, panel + g * kTileBytes);
    if (g + 1 < w.num_groups) write_turned<FourBits::kZero>(second, panel + (g + 1) * kTileBytes);
  }
}

// Adds up the lanes of each output's vector: of all 16 where kGroups is 1, else of the lower and of the upper 8.
template <int kGroups>
inline void add_lanes(__m512i (&v)[kTileRows], __m512i (&totals)[2]) {
  __m512i pairs[8], fours[4], halves[2];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    pairs[i] =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    fours[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(pairs[2 * i], pairs[2 * i + 1]),
                                _mm512_unpackhi_epi64(pairs[2 * i], pairs[2 * i + 1]));
  }
  // Each quarter of fours[i] has its part of outputs 4 * i to 4 * i + 3.
  for (int i = 0; i < 2; ++i) {
    halves[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(fours[2 * i], fours[2 * i + 1], 0x88),
                                 _mm512_shuffle_i32x4(fours[2 * i], fours[2 * i + 1], 0xDD));
  }
  totals[0] = _mm512_shuffle_i32x4(halves[0], halves[1], 0x88);
  totals[1] = _mm512_shuffle_i32x4(halves[0], halves[1], 0xDD);
  if constexpr (kGroups == 1) totals[0] = _mm512_add_epi32(totals[0], totals[1]);
}

// Multiplies what a vector of each output holds, one group of 8 bits or two of 4, with one row; the next block is fetched meanwhile.
// Returns how many groups.
inline i64 multiply_row(EightBits, const StoredRows& rows, const void* x, const StoredBlock& w, i64 g,
                        __m512i (&totals)[2]) {
  const __m512i xs = _mm512_loadu_si512(rows.values(x, g));
  __m512i v[kTileRows];
#pragma GCC unroll 16
  for (i64 o = 0; o < kTileRows; ++o) {
    const std::byte* at = w.data + o * w.stride + g * kQuantGroup;
    __builtin_prefetch(at + kTileRows * w.stride, 0, 2);
    v[o] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(at), xs);
  }
  add_lanes<1>(v, totals);
  return 1;
}
inline i64 multiply_row(FourBits, const StoredRows& rows, const void* x, const StoredBlock& w, i64 g,
                        __m512i (&totals)[2]) {
  const bool two = g + 1 < w.num_groups;
  const __mmask16 dwords = two ? 0xFFFF : 0x00FF;
  const __m512i first = _mm512_loadu_si512(rows.values(x, g));
  const __m512i second = two ? _mm512_loadu_si512(rows.values(x, g + 1)) : _mm512_setzero_si512();
  const __m512i even = _mm512_inserti64x4(first, _mm512_castsi512_si256(second), 1);
  const __m512i odd = _mm512_shuffle_i64x2(first, second, 0xEE);
  __m512i v[kTileRows];
#pragma GCC unroll 16
  for (i64 o = 0; o < kTileRows; ++o) {
    const std::byte* at = w.data + o * w.stride + g * kQuantGroup / 2;
    __builtin_prefetch(at + kTileRows * w.stride, 0, 2);
    const __m512i bytes = _mm512_maskz_loadu_epi32(dwords, at);
    v[o] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), low_digits(bytes), even);
    v[o] = _mm512_dpbusd_epi32(v[o], high_digits(bytes), odd);
  }
  add_lanes<2>(v, totals);
  return two ? 2 : 1;
}

// One row by a block of outputs: a lane is an output.
template <class Bits>
inline void one_row_by_block(const void* x, const StoredBlock& w, const float* scales, const float* bias, float* y) {
  const StoredRows rows{1, w.num_groups};
  __m512 sum = _mm512_setzero_ps();
  for (i64 g = 0; g < w.num_groups;) {
    __m512i totals[2];
    const i64 count = multiply_row(Bits{}, rows, x, w, g, totals);
    for (i64 i = 0; i < count; ++i, ++g) {
      const __m512i total = _mm512_sub_epi32(totals[i], _mm512_set1_epi32(Bits::kZero * *rows.sums(x, g)));
      const __m512 factors = _mm512_mul_ps(_mm512_loadu_ps(scales + g * kLanes), _mm512_set1_ps(*rows.scales(x, g)));
      sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), factors, sum);
    }
  }
  _mm512_storeu_ps(y, _mm512_add_ps(sum, bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(bias)));
}

// So many groups are spread before the first of them is multiplied: a tile that was just written can't be read at once.
constexpr i64 kGroupsAtOnce = 8;

// Says where tiles of `count` groups lie: of 8 bits where they are stored, of 4 bits in `spread`.
struct StoredTiles {
  const std::byte* data;
  i64 stride, step;  // bytes from output to output and from group to group
};
inline StoredTiles tiles_of(EightBits, const StoredBlock& w, i64 g, i64, std::byte*) {
  return {w.data + g * kQuantGroup, w.stride, kQuantGroup};
}
inline StoredTiles tiles_of(FourBits, const StoredBlock& w, i64 g, i64 count, std::byte* spread) {
  for (i64 i = 0; i < count; i += 2) {
    __m512i first[kTileRows], second[kTileRows];
    spread_pair(w, g + i, first, second);
    for (i64 o = 0; o < kTileRows; ++o) {
      _mm512_store_si512(spread + i * kTileBytes + o * 64, first[o]);
      _mm512_store_si512(spread + (i + 1) * kTileBytes + o * 64, second[o]);
    }
  }
  written_for_tiles();
  return {spread, 64, kTileBytes};
}

// Some rows by a block of outputs: a lane is a row.
template <class Bits>
inline void rows_by_block(const StoredRows& rows, const void* x, const StoredBlock& w, const float* scales,
                          const float* bias, float* y, i64 y_stride) {
  alignas(64) std::int32_t totals[kGroupsAtOnce][kTileRows * kLanes];
  alignas(64) std::byte spread[kGroupsAtOnce * kTileBytes];
  const __mmask16 lanes = first_lanes(rows.num_rows);
  const auto row_bytes = static_cast<size_t>(rows.num_rows * 4);
  __m512 sums[kTileRows];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  for (i64 g = 0; g < w.num_groups; g += kGroupsAtOnce) {
    const i64 count = w.num_groups - g < kGroupsAtOnce ? w.num_groups - g : kGroupsAtOnce;
    const StoredTiles tiles = tiles_of(Bits{}, w, g, count, spread);
    for (i64 i = 0; i < count; ++i) {
      _tile_zero(0);
      _tile_loadd(6, rows.values(x, g + i), row_bytes);
      _tile_loadd(4, tiles.data + i * tiles.step, static_cast<size_t>(tiles.stride));
      _tile_dpbusd(0, 4, 6);
      _tile_stored(0, totals[i], 64);
    }
    written_for_tiles();
    for (i64 i = 0; i < count; ++i) {
      const __m512i start =
          _mm512_mullo_epi32(_mm512_maskz_loadu_epi32(lanes, rows.sums(x, g + i)), _mm512_set1_epi32(Bits::kZero));
      const __m512 row_scales = _mm512_maskz_loadu_ps(lanes, rows.scales(x, g + i));
      const float* weight_scales = scales + (g + i) * kLanes;
#pragma GCC unroll 16
      for (i64 o = 0; o < kTileRows; ++o) {
        const __m512i total = _mm512_maskz_sub_epi32(lanes, _mm512_load_si512(totals[i] + o * kLanes), start);
        const __m512 factors = _mm512_mul_ps(_mm512_set1_ps(weight_scales[o]), row_scales);
        sums[o] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), factors, sums[o]);
      }
    }
  }
  __m512i turned[kTileRows];
  for (i64 o = 0; o < kTileRows; ++o) turned[o] = _mm512_castps_si512(sums[o]);
  transpose(turned);
  const __m512 shift = bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(bias);
  for (i64 r = 0; r < rows.num_rows; ++r) {
    _mm512_storeu_ps(y + r * y_stride, _mm512_add_ps(_mm512_castsi512_ps(turned[r]), shift));
  }
}

template <class Bits>
void run_stored(const void* packed, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y,
                i64 y_stride) {
  const QuantizedRows shape(weight.num_in);
  const i64 groups = shape.num_groups, tiled = num_rows / kTileRows * kTileRows;
  const i64 row_bytes = groups * Bits::kGroupBytes / kLanes;
  const auto block_at = [&](i64 out) {
    return StoredBlock{static_cast<const std::byte*>(weight.data) + out * row_bytes, row_bytes, groups};
  };
  const auto* x = static_cast<const char*>(packed);
  if (tiled > 0) {
    multiply_tiles_of_rows(x, tiled, weight, begin, end, y, y_stride,
                           [&](i64 out, std::byte* panel) { copy_stored(Bits{}, block_at(out), panel); });
  }
  if (tiled == num_rows) return;
  const StoredRows rows{num_rows - tiled, groups};
  x += tiled * shape.stride;
  y += tiled * y_stride;
  const auto bias_at = [&](i64 out) { return weight.bias == nullptr ? nullptr : weight.bias + out; };
  if (rows.num_rows == 1) {
    for (i64 out = begin; out < end; out += kLanes) {
      one_row_by_block<Bits>(x, block_at(out), weight.scales + out * groups, bias_at(out), y + out);
    }
    return;
  }
  const Tiles registers(rows.num_rows);
  for (i64 out = begin; out < end; out += kLanes) {
    rows_by_block<Bits>(rows, x, block_at(out), weight.scales + out * groups, bias_at(out), y + out, y_stride);
  }
}

}  // namespace
}  // namespace mobula::nn
