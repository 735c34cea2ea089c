// Products of many rows with weights of 8 and 4 bits on tile registers; to the bit what quantized_kernels.hpp makes of each row.
//
// 16 rows of x, a group of 64 inputs wide, are the first operand, a group of a block of weights is the second: it lies in
// memory as the tile wants it, but for what its numbers are too large. A group's products are added up exactly in 32 bits.
#pragma once

#include "mobula/nn/decoder/quantized_kernels.hpp"
#include "mobula/nn/decoder/thread_buffer.hpp"
#include "mobula/nn/decoder/tile_registers.hpp"

namespace mobula::nn {
namespace {

static_assert(kQuantGroup == 64, "a group is a tile's row");

// Writes a block's groups as signed bytes, a tile each.
inline void copy_block(EightBits, const std::uint8_t* w, i64 num_groups, std::byte* panel) {
  const __m512i zero = _mm512_set1_epi8(static_cast<char>(128));
  for (i64 at = 0; at < num_groups * kTileBytes; at += 64) {
    _mm512_store_si512(panel + at, _mm512_xor_si512(_mm512_loadu_si512(w + at), zero));
  }
}
inline void copy_block(FourBits, const std::uint8_t* w, i64 num_groups, std::byte* panel) {
  const __m512i zero = _mm512_set1_epi8(8);
  for (i64 g = 0; g < num_groups; ++g) {
    for (i64 at = 0; at < kTileBytes / 2; at += 64) {
      const __m512i bytes = _mm512_loadu_si512(w + g * FourBits::kGroupBytes + at);
      std::byte* to = panel + g * kTileBytes + at;
      _mm512_store_si512(to, _mm512_sub_epi8(low_digits(bytes), zero));
      _mm512_store_si512(to + kTileBytes / 2, _mm512_sub_epi8(high_digits(bytes), zero));
    }
  }
}

// How x lies packed. 16 whole rows go together: group after group a tile of bytes, then group after group 16 scales. Rows that
// are left lie as those of QuantizedRows, each by itself.
struct QuantizedTile {
  i64 num_groups;
  i64 stride;  // bytes from 16 rows to the next

  explicit QuantizedTile(const QuantizedRows& rows) : num_groups(rows.num_groups), stride(kTileRows * rows.stride) {}
  const float* scales(const char* tile) const { return reinterpret_cast<const float*>(tile + num_groups * kTileBytes); }
};

// Rounds one group of up to 64 numbers to 8 bits and returns its scale: NaN where one is no number or infinite.
inline float round_group(const float* x, i64 count, __m128i (&bytes)[4], __m512i& total) {
  constexpr int kNotFinite = 0x01 | 0x80 | 0x08 | 0x10;  // quiet and signalling NaN, either infinity
  __m512 v[4], largest = _mm512_setzero_ps();
  __mmask16 strange = 0;
  for (i64 i = 0; i < 4; ++i) {
    const i64 left = count - i * kLanes;
    v[i] = left <= 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(first_lanes(left), x + i * kLanes);
    largest = _mm512_max_ps(largest, _mm512_abs_ps(v[i]));
    strange |= _mm512_fpclass_ps_mask(v[i], kNotFinite);
  }
  const float top = strange == 0 ? _mm512_reduce_max_ps(largest) : 0.0f;
  const __m512 inverse = _mm512_set1_ps(top > 0.0f ? 127.0f / top : 0.0f);
  total = _mm512_setzero_si512();
  for (i64 i = 0; i < 4; ++i) {
    const __m512i whole = strange == 0 ? _mm512_cvtps_epi32(_mm512_mul_ps(v[i], inverse)) : _mm512_setzero_si512();
    total = _mm512_add_epi32(total, whole);
    bytes[i] = _mm512_cvtepi32_epi8(whole);
  }
  return strange == 0 ? top / 127.0f : NAN;
}

void pack_quantized_tiles(const float* x, i64 stride, i64 num_rows, i64 num_in, void* packed) {
  const QuantizedRows rows(num_in);
  const QuantizedTile tile(rows);
  const i64 groups = rows.num_groups;
  for (i64 r = 0; r < num_rows; ++r) {
    const bool tiled = r / kTileRows * kTileRows + kTileRows <= num_rows;
    char* base = static_cast<char*>(packed) + (tiled ? r / kTileRows * tile.stride : r * rows.stride);
    for (i64 g = 0; g < groups; ++g) {
      __m128i bytes[4];
      __m512i total;
      const float scale = round_group(x + r * stride + g * kQuantGroup, num_in - g * kQuantGroup, bytes, total);
      char* to = tiled ? base + g * kTileBytes + r % kTileRows * kQuantGroup : base + g * kQuantGroup;
      for (i64 i = 0; i < 4; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(to) + i, bytes[i]);
      if (tiled) {
        const_cast<float*>(tile.scales(base))[g * kTileRows + r % kTileRows] = scale;
      } else {
        const_cast<float*>(rows.scales(base))[g] = scale;
        const_cast<std::int32_t*>(rows.sums(base))[g] = _mm512_reduce_add_epi32(total);
      }
    }
  }
}

// Adds a group's products, scaled, to 16 rows' sums.
inline void add_scaled(const std::int32_t* totals, __m512 weight_scales, const float* row_scales,
                       __m512 (&sums)[kTileRows]) {
#pragma GCC unroll 16
  for (i64 r = 0; r < kTileRows; ++r) {
    const __m512 factors = _mm512_mul_ps(weight_scales, _mm512_set1_ps(row_scales[r]));
    sums[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(totals + r * kLanes)), factors, sums[r]);
  }
}

// 16 rows by one block of outputs.
inline void multiply_tile(const QuantizedTile& tile, const char* x, const std::byte* panel, const float* scales,
                          const float* bias, i64 num_outs, float* y, i64 y_stride) {
  alignas(64) std::int32_t totals[2][kTileRows * kLanes];
  const float* row_scales = tile.scales(x);
  const i64 groups = tile.num_groups;
  __m512 sums[kTileRows];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  // Two groups at a time, so that one's products are made while the other's are scaled.
  for (i64 g = 0; g < groups; g += 2) {
    const bool two = g + 1 < groups;
    _tile_zero(0);
    _tile_loadd(4, x + g * kTileBytes, 64);
    _tile_loadd(6, panel + g * kTileBytes, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_stored(0, totals[0], 64);
    if (two) {
      _tile_zero(1);
      _tile_loadd(5, x + (g + 1) * kTileBytes, 64);
      _tile_loadd(7, panel + (g + 1) * kTileBytes, 64);
      _tile_dpbssd(1, 5, 7);
      _tile_stored(1, totals[1], 64);
    }
    add_scaled(totals[0], _mm512_loadu_ps(scales + g * kLanes), row_scales + g * kTileRows, sums);
    if (two) {
      add_scaled(totals[1], _mm512_loadu_ps(scales + (g + 1) * kLanes), row_scales + (g + 1) * kTileRows, sums);
    }
  }
  const __mmask16 outs = first_lanes(num_outs);
  const __m512 shift = bias != nullptr ? _mm512_maskz_loadu_ps(outs, bias) : _mm512_setzero_ps();
  for (i64 r = 0; r < kTileRows; ++r) {
    _mm512_mask_storeu_ps(y + r * y_stride, outs, _mm512_add_ps(sums[r], shift));
  }
}

// Writes a block of weights, given its first output, as signed bytes, a tile a group, and its scales, 16 a group.
using CopyBlock = void (*)(const WeightView& weight, i64 out, std::byte* panel, float* scales);

template <class Bits>
inline void copy_laid_out(const WeightView& weight, i64 out, std::byte* panel, float* scales) {
  const i64 groups = QuantizedRows(weight.num_in).num_groups;
  copy_block(Bits{}, static_cast<const std::uint8_t*>(weight.data) + out / kLanes * groups * Bits::kGroupBytes, groups,
             panel);
  memcpy(scales, weight.scales + out * groups, static_cast<size_t>(groups * kLanes) * sizeof(float));
}

// Whole tiles of rows by outputs [begin, end).
inline void multiply_tiles_of_rows(const char* x, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y,
                                   i64 y_stride, CopyBlock copy) {
  const QuantizedTile tile{QuantizedRows(weight.num_in)};
  const i64 groups = tile.num_groups;
  const Tiles registers;
  // Some blocks at a time, so that rows are read once for all of them.
  constexpr i64 kBlocks = 8;
  static thread_local ThreadBuffer panels;
  const i64 panel_bytes = groups * kTileBytes, block_bytes = panel_bytes + groups * 64;
  auto* blocks = static_cast<std::byte*>(panels.sized(static_cast<size_t>(kBlocks * block_bytes)));
  const auto block_of = [&](i64 index) { return blocks + index * block_bytes; };
  const auto scales_of = [&](i64 index) { return reinterpret_cast<float*>(block_of(index) + panel_bytes); };
  for (i64 first = begin; first < end; first += kBlocks * kLanes) {
    const i64 last = end - first < kBlocks * kLanes ? end : first + kBlocks * kLanes;
    for (i64 out = first; out < last; out += kLanes) {
      const i64 index = (out - first) / kLanes;
      copy(weight, out, block_of(index), scales_of(index));
    }
    written_for_tiles();
    for (i64 row = 0; row < num_rows; row += kTileRows) {
      for (i64 out = first; out < last; out += kLanes) {
        const i64 index = (out - first) / kLanes;
        multiply_tile(tile, x + row / kTileRows * tile.stride, block_of(index), scales_of(index),
                      weight.bias == nullptr ? nullptr : weight.bias + out, end - out, y + row * y_stride + out,
                      y_stride);
      }
    }
  }
}

template <class Bits, int kRows>
void run_quantized_tiles(const void* packed, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y,
                         i64 y_stride) {
  const QuantizedRows rows(weight.num_in);
  const i64 tiled = num_rows / kTileRows * kTileRows;
  const auto* x = static_cast<const char*>(packed);
  if (tiled > 0) {
    multiply_tiles_of_rows(x, tiled, weight, begin, end, y, y_stride, copy_laid_out<Bits>);
  }
  if (tiled < num_rows) {
    run_quantized<Bits, kRows>(x + tiled * rows.stride, num_rows - tiled, weight, begin, end, y + tiled * y_stride,
                               y_stride);
  }
}

}  // namespace
}  // namespace mobula::nn
