// For processors with AMX tiles for bfloat16 (Sapphire Rapids and later); the rest as for AVX-512.
//
// The weights are the first operand: 16 of their rows, 32 inputs wide, go into a tile as they lie in the file. The rows of x
// are the second, packed in pairs of inputs: [group of 16 rows][input / 2][row][2].
#include <immintrin.h>

#include "mobula/nn/decoder/cpu_kernel_sets.hpp"
#include "mobula/nn/decoder/quantized_kernels.hpp"
// after the kernels
#include "mobula/nn/decoder/kernel_set.inl"

namespace mobula::nn {
namespace {

constexpr i64 kTileRows = 16;
constexpr i64 kTileInputs = 32;

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t bytes_per_row[16] = {};
  std::uint8_t rows[16] = {};
};

std::size_t packed_pairs_bytes(i64 num_rows, i64 num_in) {
  return static_cast<std::size_t>(round_up(num_rows, kTileRows) * round_up(num_in, kTileInputs)) *
         sizeof(std::uint16_t);
}

std::uint16_t bf16_bits(float x) {
  x = round_to_bf16(x);
  std::uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return static_cast<std::uint16_t>(bits >> 16);
}

void pack_pairs(const float* x, i64 stride, i64 num_rows, i64 num_in, void* packed) {
  const i64 padded = round_up(num_in, kTileInputs);
  auto* out = static_cast<std::uint16_t*>(packed);
  for (i64 group = 0; group < num_rows; group += kTileRows) {
    std::uint16_t* base = out + group * padded;
    for (i64 r = 0; r < kTileRows; ++r) {
      const float* row = x + (group + r) * stride;
      if (group + r >= num_rows) {
        for (i64 i = 0; i < padded; ++i) base[(i / 2 * kTileRows + r) * 2 + i % 2] = 0;
        continue;
      }
      for (i64 i = 0; i < num_in; ++i) base[(i / 2 * kTileRows + r) * 2 + i % 2] = bf16_bits(row[i]);
      for (i64 i = num_in; i < padded; ++i) base[(i / 2 * kTileRows + r) * 2 + i % 2] = 0;
    }
  }
}

// Writes a tile of sums [output][row] to y[row][output].
inline void write_tile(const float* sums, const float* bias, i64 num_outs, i64 num_rows, float* y, i64 y_stride) {
  for (i64 r = 0; r < num_rows; ++r) {
    for (i64 o = 0; o < num_outs; ++o)
      y[r * y_stride + o] = sums[o * kTileRows + r] + (bias != nullptr ? bias[o] : 0.0f);
  }
}

// kOutTiles x kRowTiles tiles of 16 outputs x 16 rows. `w` rows lie `w_stride` bf16 apart, and `padded` inputs can be read.
template <int kOutTiles, int kRowTiles>
inline void tile_block(const std::uint16_t* w, i64 w_stride, const std::uint16_t* x, i64 padded,
                       float (*sums)[kTileRows * kTileRows]) {
  _tile_zero(0);
  if constexpr (kRowTiles > 1) _tile_zero(1);
  if constexpr (kOutTiles > 1) _tile_zero(2);
  if constexpr (kOutTiles > 1 && kRowTiles > 1) _tile_zero(3);
  const auto w_bytes = static_cast<size_t>(w_stride) * sizeof(std::uint16_t);
  for (i64 i = 0; i < padded; i += kTileInputs) {
    _tile_loadd(6, x + i * kTileRows, 64);
    if constexpr (kRowTiles > 1) _tile_loadd(7, x + kTileRows * padded + i * kTileRows, 64);
    _tile_loadd(4, w + i, w_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kRowTiles > 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (kOutTiles > 1) {
      _tile_loadd(5, w + kTileRows * w_stride + i, w_bytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kRowTiles > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums[0], 64);
  if constexpr (kRowTiles > 1) _tile_stored(1, sums[1], 64);
  if constexpr (kOutTiles > 1) _tile_stored(2, sums[2], 64);
  if constexpr (kOutTiles > 1 && kRowTiles > 1) _tile_stored(3, sums[3], 64);
}

template <int kOutTiles>
inline void tile_rows(const std::uint16_t* w, i64 w_stride, const std::uint16_t* x, i64 padded, i64 row, i64 num_rows,
                      i64 num_outs, const float* bias, float* y, i64 y_stride) {
  alignas(64) float sums[4][kTileRows * kTileRows];
  const i64 left = num_rows - row;
  const bool two = left > kTileRows;
  if (two) {
    tile_block<kOutTiles, 2>(w, w_stride, x + row * padded, padded, sums);
  } else {
    tile_block<kOutTiles, 1>(w, w_stride, x + row * padded, padded, sums);
  }
  for (int o = 0; o < kOutTiles; ++o) {
    const i64 outs = num_outs - o * kTileRows < kTileRows ? num_outs - o * kTileRows : kTileRows;
    for (int r = 0; r < (two ? 2 : 1); ++r) {
      const i64 rows = left - r * kTileRows < kTileRows ? left - r * kTileRows : kTileRows;
      write_tile(sums[o * 2 + r], bias == nullptr ? nullptr : bias + o * kTileRows, outs, rows,
                 y + (row + r * kTileRows) * y_stride + o * kTileRows, y_stride);
    }
  }
}

// Two tiles of outputs by two of rows: four sums for four loads.
void run_tiles(const void* packed, i64 num_rows, const WeightView& weight, i64 begin, i64 end, float* y, i64 y_stride) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.rows[tile] = kTileRows;
    config.bytes_per_row[tile] = 64;
  }
  _tile_loadconfig(&config);
  const auto* x = static_cast<const std::uint16_t*>(packed);
  const auto* w = static_cast<const std::uint16_t*>(weight.data);
  const i64 num_in = weight.num_in;
  const i64 padded = round_up(num_in, kTileInputs);
  const bool whole = padded == num_in;
  std::uint16_t* copy = nullptr;  // of 16 or 32 rows, where a tile would read past their end
  for (i64 out = begin; out < end; out += 2 * kTileRows) {
    const i64 outs = end - out < 2 * kTileRows ? end - out : 2 * kTileRows;
    const std::uint16_t* rows = w + out * num_in;
    i64 stride = num_in;
    const i64 tiled = round_up(outs, kTileRows);
    if (!whole || outs != tiled) {
      if (copy == nullptr)
        copy = static_cast<std::uint16_t*>(aligned_alloc(64, static_cast<size_t>(2 * kTileRows * padded) * 2));
      memset(copy, 0, static_cast<size_t>(tiled * padded) * 2);
      for (i64 o = 0; o < outs; ++o) memcpy(copy + o * padded, rows + o * num_in, static_cast<size_t>(num_in) * 2);
      rows = copy;
      stride = padded;
    }
    const float* bias = weight.bias == nullptr ? nullptr : weight.bias + out;
    for (i64 row = 0; row < num_rows; row += 2 * kTileRows) {
      if (tiled > kTileRows) {
        tile_rows<2>(rows, stride, x, padded, row, num_rows, outs, bias, y + out, y_stride);
      } else {
        tile_rows<1>(rows, stride, x, padded, row, num_rows, outs, bias, y + out, y_stride);
      }
    }
  }
  free(copy);
  _tile_release();
}

constexpr CpuKernels with_tiles(CpuKernels kernels) {
  kernels.matmul[static_cast<int>(WeightType::bf16)] = {kTileRows, packed_pairs_bytes, pack_pairs, run_tiles};
  return kernels;
}

}  // namespace

constinit const CpuKernels kAmxKernels = with_tiles(kernel_set<4, 4>("amx"));

}  // namespace mobula::nn
