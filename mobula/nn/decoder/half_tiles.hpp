// Products with bfloat16 weights on tile registers.
//
// The weights are the first operand: 16 of their rows, 32 inputs wide, go into a tile as they lie in the file. The rows of x
// are the second, packed in pairs of inputs so that 32 rows are read as one stream: [group of 32 rows][32 inputs][16 rows]
// [input / 2][row][2], the last group without the second 16 where they aren't there. A last group of fewer than 16 rows lies
// without gaps: [32 inputs][input / 2][row][2], so that one row stays in the first-level cache while its weights pass by. Each
// sum is made in the order of the inputs, whatever lies beside it.
#pragma once

#include "mobula/nn/decoder/thread_buffer.hpp"
#include "mobula/nn/decoder/tile_registers.hpp"

namespace mobula::nn {
namespace {

constexpr i64 kTileInputs = 32;
constexpr i64 kRowGroup = 2 * kTileRows;

// Returns how many of so many rows lie in a last group of fewer than 16.
inline i64 narrow_rows(i64 num_rows) {
  const i64 last = num_rows % kRowGroup;
  return last < kTileRows ? last : 0;
}

std::size_t packed_pairs_bytes(i64 num_rows, i64 num_in) {
  const i64 narrow = narrow_rows(num_rows), rows = round_up(num_rows - narrow, kTileRows) + narrow;
  return static_cast<std::size_t>(rows * round_up(num_in, kTileInputs)) * sizeof(std::uint16_t);
}

// Rounds 32 numbers, of which `count` are there, to bfloat16.
inline __m512i load_halves(const float* x, i64 count) {
  const __m512 low = count >= kLanes ? _mm512_loadu_ps(x) : _mm512_maskz_loadu_ps(first_lanes(count), x);
  const i64 more = count - kLanes;
  const __m512 high = more <= 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(first_lanes(more), x + kLanes);
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

void pack_pairs(const float* x, i64 stride, i64 num_rows, i64 num_in, void* packed) {
  const i64 padded = round_up(num_in, kTileInputs), narrow = narrow_rows(num_rows);
  auto* out = static_cast<std::byte*>(packed);
  for (i64 group = 0; group < num_rows - narrow; group += kRowGroup) {
    const i64 tiles = num_rows - group > kTileRows ? 2 : 1;
    for (i64 i = 0; i < padded; i += kTileInputs) {
      for (i64 tile = 0; tile < tiles; ++tile, out += kTileBytes) {
        const i64 first = group + tile * kTileRows, count = num_rows - first < kTileRows ? num_rows - first : kTileRows;
        __m512i rows[kTileRows] = {};
        for (i64 r = 0; r < count; ++r) rows[r] = load_halves(x + (first + r) * stride + i, num_in - i);
        transpose(rows);
        for (i64 pair = 0; pair < kTileRows; ++pair) _mm512_storeu_si512(out + pair * 64, rows[pair]);
      }
    }
  }
  const __mmask16 lanes = first_lanes(narrow);
  for (i64 i = 0; narrow > 0 && i < padded; i += kTileInputs) {
    __m512i rows[kTileRows] = {};
    for (i64 r = 0; r < narrow; ++r) rows[r] = load_halves(x + (num_rows - narrow + r) * stride + i, num_in - i);
    transpose(rows);
    for (i64 pair = 0; pair < kTileRows; ++pair, out += narrow * 4) {
      _mm512_mask_storeu_epi32(out, lanes, rows[pair]);
    }
  }
}

// Copies rows that lie without gaps to whole tiles; what is missing is 0.
inline void widen_pairs(const std::byte* x, i64 num_rows, i64 padded, std::byte* wide) {
  for (i64 pair = 0; pair < padded / 2; ++pair) {
    _mm512_store_si512(wide + pair * 64, _mm512_maskz_loadu_epi32(first_lanes(num_rows), x + pair * num_rows * 4));
  }
}

// Writes a tile of sums [output][row] to y[row][output].
inline void write_tile(const float* sums, const float* bias, i64 num_outs, i64 num_rows, float* y, i64 y_stride) {
  __m512i rows[kTileRows];
  for (i64 o = 0; o < kTileRows; ++o) rows[o] = _mm512_load_si512(sums + o * kTileRows);
  transpose(rows);
  const __mmask16 outs = first_lanes(num_outs);
  const __m512 shift = bias != nullptr ? _mm512_maskz_loadu_ps(outs, bias) : _mm512_setzero_ps();
  for (i64 r = 0; r < num_rows; ++r) {
    const __m512 row = _mm512_castsi512_ps(rows[r]);
    _mm512_mask_storeu_ps(y + r * y_stride, outs, bias != nullptr ? _mm512_add_ps(row, shift) : row);
  }
}

// Where 16 or 32 rows of weights lie: the tile of 16 outputs and 32 inputs from input i on at `data + i / 32 * step`, its rows
// `stride` apart, that of the next 16 outputs `second` behind. All in bytes.
struct WeightTiles {
  const std::byte* data;
  i64 stride, step, second;
};

// kOutTiles x kRowTiles tiles of 16 outputs x 16 rows: four sums for four loads.
template <int kOutTiles, int kRowTiles>
inline void tile_block(const WeightTiles& w, const std::byte* x, i64 padded, float (*sums)[kTileRows * kTileRows]) {
  _tile_zero(0);
  if constexpr (kRowTiles > 1) _tile_zero(1);
  if constexpr (kOutTiles > 1) _tile_zero(2);
  if constexpr (kOutTiles > 1 && kRowTiles > 1) _tile_zero(3);
  const auto stride = static_cast<size_t>(w.stride);
  const std::byte* at = w.data;
  for (i64 i = 0; i < padded; i += kTileInputs, at += w.step, x += kRowTiles * kTileBytes) {
    _tile_loadd(6, x, 64);
    if constexpr (kRowTiles > 1) _tile_loadd(7, x + kTileBytes, 64);
    _tile_loadd(4, at, stride);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kRowTiles > 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (kOutTiles > 1) {
      _tile_loadd(5, at + w.second, stride);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kRowTiles > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums[0], 64);
  if constexpr (kRowTiles > 1) _tile_stored(1, sums[1], 64);
  if constexpr (kOutTiles > 1) _tile_stored(2, sums[2], 64);
  if constexpr (kOutTiles > 1 && kRowTiles > 1) _tile_stored(3, sums[3], 64);
}

// Up to 32 outputs of up to 32 rows.
inline void multiply_tiles(const WeightTiles& w, i64 num_outs, const std::byte* x, i64 num_rows, i64 padded,
                           const float* bias, float* y, i64 y_stride) {
  alignas(64) float sums[4][kTileRows * kTileRows];
  const bool two_rows = num_rows > kTileRows, two_outs = num_outs > kTileRows;
  if (two_rows) {
    two_outs ? tile_block<2, 2>(w, x, padded, sums) : tile_block<1, 2>(w, x, padded, sums);
  } else {
    two_outs ? tile_block<2, 1>(w, x, padded, sums) : tile_block<1, 1>(w, x, padded, sums);
  }
  for (i64 o = 0; o < (two_outs ? 2 : 1); ++o) {
    const i64 outs = num_outs - o * kTileRows < kTileRows ? num_outs - o * kTileRows : kTileRows;
    for (i64 r = 0; r < (two_rows ? 2 : 1); ++r) {
      const i64 rows = num_rows - r * kTileRows < kTileRows ? num_rows - r * kTileRows : kTileRows;
      write_tile(sums[o * 2 + r], bias == nullptr ? nullptr : bias + o * kTileRows, outs, rows,
                 y + r * kTileRows * y_stride + o * kTileRows, y_stride);
    }
  }
}

// Copies rows of weights, 32 outputs at a time, to tiles that lie one behind the other; what is missing is 0. Tile by tile: lines
// that are written 2 KB apart would push one another out of the first-level cache.
inline void copy_panel(const std::uint16_t* w, i64 num_outs, i64 num_in, std::byte* panel) {
  constexpr i64 kOuts = 2 * kTileRows;
  for (i64 out = 0; out < num_outs; out += kOuts) {
    const i64 outs = num_outs - out < kOuts ? num_outs - out : kOuts;
    for (i64 i = 0; i < num_in; i += kTileInputs, panel += 2 * kTileBytes) {
      const std::uint16_t* from = w + out * num_in + i;
      const i64 left = num_in - i;
      const __mmask32 inputs = left < kTileInputs ? (1u << left) - 1 : ~0u;
      for (i64 o = 0; o < outs; ++o) {
        _mm512_store_si512(panel + o * 64, _mm512_maskz_loadu_epi16(inputs, from + o * num_in));
      }
      for (i64 o = outs; o < kOuts; ++o) _mm512_store_si512(panel + o * 64, _mm512_setzero_si512());
    }
  }
  written_for_tiles();
}

// Fewer than 16 rows: the weights are read where they lie, once, 16 outputs at a time: with 32, or with what comes next fetched
// ahead in whichever order, memory gave less.
inline void run_narrow(const std::byte* x, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y,
                       i64 y_stride) {
  const auto* w = static_cast<const std::uint16_t*>(weight.data);
  const i64 num_in = weight.num_in, padded = round_up(num_in, kTileInputs), step = num_rows * 64;
  static thread_local ThreadBuffer copies;
  alignas(64) float sums[kTileRows * kTileRows] = {};
  const auto row_bytes = static_cast<size_t>(num_rows * 4);
  for (i64 out = begin; out < end; out += kTileRows) {
    const i64 outs = end - out < kTileRows ? end - out : kTileRows;
    const auto* at = reinterpret_cast<const std::byte*>(w + out * num_in);
    auto stride = static_cast<size_t>(num_in * 2);
    i64 advance = 64;
    if (padded != num_in || outs != kTileRows) {  // a tile would read past their end
      auto* copy = static_cast<std::byte*>(copies.sized(static_cast<size_t>(64 * padded)));
      copy_panel(w + out * num_in, outs, num_in, copy);
      at = copy, stride = 64, advance = 2 * kTileBytes;
    }
    _tile_zero(0);
    for (i64 i = 0; i < padded; i += kTileInputs, at += advance) {
      _tile_loadd(6, x + i / kTileInputs * step, row_bytes);
      _tile_loadd(4, at, stride);
      _tile_dpbf16ps(0, 4, 6);
    }
    _tile_stored(0, sums, 64);
    const float* bias = weight.bias == nullptr ? nullptr : weight.bias + out;
    write_tile(sums, bias, outs, num_rows, y + out, y_stride);
  }
}

// Up to 32 rows in whole tiles: the weights are read where they lie, once.
inline void run_few_rows(const std::byte* x, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y,
                         i64 y_stride) {
  const auto* w = static_cast<const std::uint16_t*>(weight.data);
  const i64 num_in = weight.num_in, padded = round_up(num_in, kTileInputs);
  static thread_local ThreadBuffer copies;
  for (i64 out = begin; out < end; out += 2 * kTileRows) {
    const i64 outs = end - out < 2 * kTileRows ? end - out : 2 * kTileRows;
    const auto* rows = reinterpret_cast<const std::byte*>(w + out * num_in);
    WeightTiles tiles{rows, num_in * 2, 64, kTileRows * num_in * 2};
    if (padded != num_in || outs % kTileRows != 0) {  // a tile would read past their end
      auto* copy = static_cast<std::byte*>(copies.sized(static_cast<size_t>(64 * padded)));
      copy_panel(w + out * num_in, outs, num_in, copy);
      tiles = {copy, 64, 2 * kTileBytes, kTileBytes};
    }
    const float* bias = weight.bias == nullptr ? nullptr : weight.bias + out;
    multiply_tiles(tiles, outs, x, num_rows, padded, bias, y + out, y_stride);
  }
}

// Many rows: so many outputs' weights as half of the second-level cache holds are copied into tiles, and all rows pass by.
// Fetching the next ones meanwhile made it slower.
inline void run_many_rows(const std::byte* x, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y,
                          i64 y_stride) {
  constexpr i64 kPanelBytes = 1 << 19, kStep = 2 * kTileRows;
  const auto* w = static_cast<const std::uint16_t*>(weight.data);
  const i64 num_in = weight.num_in, padded = round_up(num_in, kTileInputs);
  const i64 fit = kPanelBytes / (padded * 2) / kStep * kStep, width = fit < kStep ? kStep : fit;
  static thread_local ThreadBuffer panels;
  const i64 most = end - begin < width ? round_up(end - begin, kStep) : width;
  auto* panel = static_cast<std::byte*>(panels.sized(static_cast<size_t>((most + kTileRows) * padded * 2)));
  std::byte* const last_rows = panel + most * padded * 2;
  const i64 narrow = narrow_rows(num_rows);
  if (narrow > 0) widen_pairs(x + (num_rows - narrow) * padded * 2, narrow, padded, last_rows);
  for (i64 first = begin; first < end; first += width) {
    const i64 last = end - first < width ? end : first + width;
    copy_panel(w + first * num_in, last - first, num_in, panel);
    for (i64 row = 0; row < num_rows; row += kRowGroup) {
      for (i64 out = first; out < last; out += kStep) {
        const WeightTiles tiles{panel + (out - first) * padded * 2, 64, 2 * kTileBytes, kTileBytes};
        const std::byte* rows = num_rows - row == narrow ? last_rows : x + row * padded * 2;
        multiply_tiles(tiles, last - out < kStep ? last - out : kStep, rows,
                       num_rows - row < kRowGroup ? num_rows - row : kRowGroup, padded,
                       weight.bias == nullptr ? nullptr : weight.bias + out, y + row * y_stride + out, y_stride);
      }
    }
  }
}

void run_tiles(const void* packed, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y, i64 y_stride) {
  const auto* x = static_cast<const std::byte*>(packed);
  if (num_rows < kTileRows) {
    const Tiles tiles(num_rows);
    run_narrow(x, num_rows, weight, begin, end, y, y_stride);
    return;
  }
  const Tiles tiles;
  const auto run = num_rows > kRowGroup ? run_many_rows : run_few_rows;
  run(x, num_rows, weight, begin, end, y, y_stride);
}

}  // namespace
}  // namespace mobula::nn
