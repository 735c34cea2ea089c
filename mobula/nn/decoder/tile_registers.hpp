// The tile registers of AMX: their configuration, and how 16 x 16 numbers of 32 bits change rows for columns. For files that
// are compiled for AMX.
#pragma once

#include <immintrin.h>

#include "mobula/nn/decoder/vector_kernels.hpp"

namespace mobula::nn {
namespace {

constexpr i64 kTileRows = 16;
constexpr i64 kTileBytes = 1024;

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t bytes_per_row[16] = {};
  std::uint8_t rows[16] = {};
};

// Whole tiles, 16 rows of 64 bytes, until it goes; 0, 1, 6 and 7, the sums and the second
// operands, may be so many numbers wide.
class Tiles {
 public:
  explicit Tiles(i64 width = kTileRows) {
    TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.rows[tile] = kTileRows;
      config.bytes_per_row[tile] = static_cast<std::uint16_t>(tile < 2 || tile > 5 ? width * 4 : 64);
    }
    _tile_loadconfig(&config);
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  ~Tiles() { _tile_release(); }
};

// Says that memory is read by what follows: GCC's intrinsics that load tiles don't, so what was written for them alone could be
// left out.
inline void written_for_tiles() {
  __asm__ volatile("" ::: "memory");
}

// rows[i][j] becomes rows[j][i].
inline void transpose(__m512i (&rows)[16]) {
  __m512i pairs[16], fours[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    for (int half = 0; half < 2; ++half) {
      fours[i + 2 * half] = _mm512_unpacklo_epi64(pairs[i + half], pairs[i + 2 + half]);
      fours[i + 2 * half + 1] = _mm512_unpackhi_epi64(pairs[i + half], pairs[i + 2 + half]);
    }
  }
  // fours[4 * a + b] holds, in its quarter c, column 4 * c + b of rows 4 * a to 4 * a + 3.
  for (int b = 0; b < 4; ++b) {
    const __m512i low_even = _mm512_shuffle_i32x4(fours[b], fours[4 + b], 0x88);
    const __m512i low_odd = _mm512_shuffle_i32x4(fours[b], fours[4 + b], 0xDD);
    const __m512i high_even = _mm512_shuffle_i32x4(fours[8 + b], fours[12 + b], 0x88);
    const __m512i high_odd = _mm512_shuffle_i32x4(fours[8 + b], fours[12 + b], 0xDD);
    rows[b] = _mm512_shuffle_i32x4(low_even, high_even, 0x88);
    rows[4 + b] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
    rows[8 + b] = _mm512_shuffle_i32x4(low_even, high_even, 0xDD);
    rows[12 + b] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xDD);
  }
}

inline __mmask16 first_lanes(i64 count) {
  return count >= kLanes ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1u << count) - 1);
}

}  // namespace
}  // namespace mobula::nn
