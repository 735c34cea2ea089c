// Products of some and of many rows with weights of 8 and 4 bits where they lie in a checkpoint, on tile registers; to the bit what
// stored_kernels.hpp makes of each row.
//
// Fewer than 16 rows: the weights are a tile's first operand, 16 outputs by one group, the rows of x the second. 16 rows: a block of
// outputs is turned into what quantized_tiles.hpp reads, and all of them pass by.
#pragma once

#include "mobula/nn/decoder/quantized_tiles.hpp"
#include "mobula/nn/decoder/stored_kernels.hpp"

namespace mobula::nn {
namespace {

// A group's numbers of x as one vector, in the order in which a row of weights has them once its digits are spread.
inline __m512i in_order_of(EightBits, __m512i bytes) {
  return bytes;
}
inline __m512i in_order_of(FourBits, __m512i bytes) {
  const __m256i even = _mm512_cvtepi16_epi8(bytes), odd = _mm512_cvtepi16_epi8(_mm512_srli_epi16(bytes, 8));
  return _mm512_inserti64x4(_mm512_castsi256_si512(even), odd, 1);
}

// How fewer than 16 rows lie packed, filled up with rows of zeros to 1, 4, 8 or 16: group after group [4 inputs][row][4 bytes],
// then group after group the rows' scales, then so the sums of their bytes. One row lies as QuantizedRows says.
struct StoredRows {
  i64 width, num_groups;

  static i64 width_of(i64 num_rows) {
    return num_rows < 2 ? num_rows : num_rows <= 4 ? 4 : num_rows <= 8 ? 8 : kTileRows;
  }
  const std::byte* values(const void* packed, i64 group) const {
    return static_cast<const std::byte*>(packed) + group * width * kQuantGroup;
  }
  const float* scales(const void* packed, i64 group) const {
    return reinterpret_cast<const float*>(values(packed, num_groups)) + group * width;
  }
  const std::int32_t* sums(const void* packed, i64 group) const {
    return reinterpret_cast<const std::int32_t*>(scales(packed, num_groups)) + group * width;
  }
};

inline std::size_t packed_stored_bytes(i64 num_rows, i64 num_in) {
  const i64 rest = num_rows % kTileRows;
  return packed_quantized_bytes(num_rows - rest + StoredRows::width_of(rest), num_in);
}

// 16 whole rows lie as QuantizedTile says, those that are left as StoredRows.
template <class Bits>
void pack_stored_tiles(const float* x, i64 stride, i64 num_rows, i64 num_in, void* packed) {
  const QuantizedRows rows(num_in);
  const QuantizedTile tile(rows);
  const i64 groups = rows.num_groups, tiled = num_rows / kTileRows * kTileRows;
  const StoredRows rest{StoredRows::width_of(num_rows - tiled), groups};
  char* const tail = static_cast<char*>(packed) + tiled * rows.stride;
  if (rest.width > num_rows - tiled) memset(tail, 0, static_cast<size_t>(rest.width * rows.stride));
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
        for (i64 q = 0; q < kQuads; ++q) out[q * rest.width] = quads[q];
        const_cast<float*>(rest.scales(tail, g))[row] = scale;
        const_cast<std::int32_t*>(rest.sums(tail, g))[row] = _mm512_reduce_add_epi32(total);
      }
    }
  }
}

// Spreads the digits of 4 bits of two groups (of one at the end, where there is no second) into bytes: [output][input]. What lies
// `ahead` bytes further is fetched meanwhile.
inline void spread_pair(const StoredBlock& w, i64 group, i64 ahead, __m512i (&first)[kTileRows],
                        __m512i (&second)[kTileRows]) {
  const __mmask16 dwords = group + 1 < w.num_groups ? 0xFFFF : 0x00FF;
#pragma GCC unroll 16
  for (i64 o = 0; o < kTileRows; ++o) {
    const std::byte* at = w.data + o * w.stride + group * kQuantGroup / 2;
    __builtin_prefetch(at + ahead, 0, 2);
    const __m512i bytes = _mm512_maskz_loadu_epi32(dwords, at);
    const __m512i low = low_digits(bytes), high = high_digits(bytes);
    first[o] = _mm512_inserti64x4(low, _mm512_castsi512_si256(high), 1);
    second[o] = _mm512_shuffle_i64x2(low, high, 0xEE);
  }
}

// ---- Whole tiles of rows ----

// Writes a group [output][input] as a tile [4 inputs][output][4], each number without what it was too large.
template <int kZero>
inline void write_turned(__m512i (&rows)[kTileRows], std::byte* panel) {
  transpose(rows);
  const __m512i zero = _mm512_set1_epi8(static_cast<char>(kZero));
  for (i64 q = 0; q < kQuads; ++q) _mm512_store_si512(panel + q * 64, _mm512_sub_epi8(rows[q], zero));
}

inline void copy_weights(EightBits, const StoredBlock& w, std::byte* panel) {
  for (i64 g = 0; g < w.num_groups; ++g) {
    __m512i rows[kTileRows];
    for (i64 o = 0; o < kTileRows; ++o) rows[o] = _mm512_loadu_si512(w.data + o * w.stride + g * kQuantGroup);
    write_turned<EightBits::kZero>(rows, panel + g * kTileBytes);
  }
}
inline void copy_weights(FourBits, const StoredBlock& w, std::byte* panel) {
  for (i64 g = 0; g < w.num_groups; g += 2) {
    __m512i first[kTileRows], second[kTileRows];
    spread_pair(w, g, 0, first, second);
    write_turned<FourBits::kZero>(first, panel + g * kTileBytes);
    if (g + 1 < w.num_groups) write_turned<FourBits::kZero>(second, panel + (g + 1) * kTileBytes);
  }
}

template <class Bits>
inline void copy_stored(const WeightView& weight, i64 out, std::byte* panel, float* scales) {
  const StoredBlock w = block_at<Bits>(weight, out);
  copy_weights(Bits{}, w, panel);
  copy_scales(weight, out, scales);
}

// ---- Fewer than 16 rows ----

// So many groups are multiplied before the first of them is added up, and of 4 bits spread before the first is multiplied: what was
// just written can't be read at once.
template <class Bits>
constexpr i64 kGroupsAtOnce = 16;
template <>
constexpr i64 kGroupsAtOnce<FourBits> = 8;

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
    spread_pair(w, g + i, kTileRows * w.stride, first, second);
    for (i64 o = 0; o < kTileRows; ++o) {
      _mm512_store_si512(spread + i * kTileBytes + o * 64, first[o]);
      _mm512_store_si512(spread + (i + 1) * kTileBytes + o * 64, second[o]);
    }
  }
  written_for_tiles();
  return {spread, 64, kTileBytes};
}

// Fetches a group of the next block, unless tiles_of() has done so.
inline void fetch_next(EightBits, const StoredBlock& w, i64 g) {
  const std::byte* next = w.data + kTileRows * w.stride + g * kQuantGroup;
#pragma GCC unroll 16
  for (i64 o = 0; o < kTileRows; ++o) __builtin_prefetch(next + o * w.stride, 0, 2);
}
inline void fetch_next(FourBits, const StoredBlock&, i64) {}

// Repeats kWidth numbers to a vector.
template <i64 kWidth>
inline __m512 repeated(const float* x) {
  if constexpr (kWidth == 4) return _mm512_broadcast_f32x4(_mm_loadu_ps(x));
  if constexpr (kWidth == 8) return _mm512_broadcast_f32x8(_mm256_loadu_ps(x));
  return _mm512_loadu_ps(x);
}

// kWidth rows by a block of outputs: a vector holds 16 / kWidth outputs of all rows.
template <class Bits, i64 kWidth>
inline void rows_by_block(const void* x, i64 num_rows, const WeightView& weight, i64 out, float* y, i64 y_stride) {
  constexpr i64 kOutsEach = kLanes / kWidth;
  const StoredBlock w = block_at<Bits>(weight, out);
  const StoredRows rows{kWidth, w.num_groups};
  constexpr i64 kAtOnce = kGroupsAtOnce<Bits>;
  alignas(64) std::int32_t totals[kAtOnce][kTileRows * kWidth];
  alignas(64) std::byte spread[Bits::kZero == FourBits::kZero ? kAtOnce * kTileBytes : 64];
  const __m512i zero = _mm512_set1_epi32(Bits::kZero);
  __m512i outs[kWidth];  // which lanes of the weights' scales a vector takes
  for (i64 i = 0; i < kWidth; ++i) {
    alignas(64) std::int32_t lanes[kLanes];
    for (i64 lane = 0; lane < kLanes; ++lane) lanes[lane] = static_cast<std::int32_t>(i * kOutsEach + lane / kWidth);
    outs[i] = _mm512_load_si512(lanes);
  }
  __m512 sums[kWidth];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  Vec scales[kScaledGroups];
  for (i64 g = 0; g < w.num_groups; g += kAtOnce) {
    if (g % kScaledGroups == 0) read_scales(weight.stored_scales, weight.num_out, out, g, scales);
    const i64 count = w.num_groups - g < kAtOnce ? w.num_groups - g : kAtOnce;
    const StoredTiles tiles = tiles_of(Bits{}, w, g, count, spread);
    for (i64 i = 0; i < count; ++i) {
      fetch_next(Bits{}, w, g + i);
      _tile_zero(0);
      _tile_loadd(6, rows.values(x, g + i), kWidth * 4);
      _tile_loadd(4, tiles.data + i * tiles.step, static_cast<size_t>(tiles.stride));
      _tile_dpbusd(0, 4, 6);
      _tile_stored(0, totals[i], kWidth * 4);
    }
    written_for_tiles();
    for (i64 i = 0; i < count; ++i) {
      const auto row_sums =
          reinterpret_cast<__m512i>(repeated<kWidth>(reinterpret_cast<const float*>(rows.sums(x, g + i))));
      const __m512i start = _mm512_mullo_epi32(row_sums, zero);
      const __m512 row_scales = repeated<kWidth>(rows.scales(x, g + i));
      const auto weight_scales = reinterpret_cast<__m512>(scales[(g + i) % kScaledGroups]);
#pragma GCC unroll 16
      for (i64 v = 0; v < kWidth; ++v) {
        const __m512i total = _mm512_sub_epi32(_mm512_load_si512(totals[i] + v * kLanes), start);
        const __m512 factors = _mm512_mul_ps(_mm512_permutexvar_ps(outs[v], weight_scales), row_scales);
        sums[v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), factors, sums[v]);
      }
    }
  }
  // [output][row], and room for what is turned past its end.
  alignas(64) float by_output[kTileRows * kWidth + kTurned];
  for (i64 v = 0; v < kWidth; ++v) _mm512_store_ps(by_output + v * kLanes, sums[v]);
  Vec shift{};
  if (weight.bias != nullptr) shift = load(weight.bias + out);
  for (i64 first = 0; first < num_rows; first += kTurned) {
    IntVec columns[kTurned];
    turn(by_output + first, kWidth * 4, columns);
    for (i64 i = 0; i < kTurned && first + i < num_rows; ++i) {
      store(y + (first + i) * y_stride + out, as_floats(columns[i]) + shift);
    }
  }
}

template <class Bits>
void run_stored_tiles(const void* packed, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y,
                      i64 y_stride) {
  const i64 tiled = num_rows / kTileRows * kTileRows, rest = num_rows - tiled;
  const auto* x = static_cast<const char*>(packed);
  if (tiled > 0) {
    multiply_tiles_of_rows(x, tiled, weight, begin, end, y, y_stride, copy_stored<Bits>);
  }
  x += tiled * QuantizedRows(weight.num_in).stride;
  y += tiled * y_stride;
  if (rest == 0) return;
  if (rest == 1) {
    for (i64 out = begin; out < end; out += kLanes) one_row<Bits>(x, weight, out, y);
    return;
  }
  const i64 width = StoredRows::width_of(rest);
  const auto run = width == 4 ? rows_by_block<Bits, 4> : width == 8 ? rows_by_block<Bits, 8> : rows_by_block<Bits, 16>;
  const Tiles registers(width);
  for (i64 out = begin; out < end; out += kLanes) run(x, rest, weight, out, y, y_stride);
}

}  // namespace
}  // namespace mobula::nn
