// Attention over bfloat16 keys and values on tile registers.
//
// An item is one query head of one row. Eight of them share a tile, the first operand of both products: a row of it holds
// what bfloat16 keeps of an item's query, and the row eight below what that leaves, so that nearly all of the query's precision
// is used; likewise for the softmax's weights. Keys and values are the second operand, as they lie in the cache. An item's
// sums depend on nothing that lies beside it.
#pragma once

#include "mobula/nn/decoder/attention_kernels.hpp"
#include "mobula/nn/decoder/tile_registers.hpp"

namespace mobula::nn {
namespace {

constexpr i64 kTileItems = 8;
constexpr i64 kChunk = 32;  // dimensions, or positions, that one product adds up

// Writes 16 numbers as two bfloat16 each: `high`, and in `low` what is left.
inline void split_halves(__m512 x, std::uint16_t* high, std::uint16_t* low) {
  const __m256i kept = (__m256i)_mm512_cvtneps_pbh(x);
  const __m512 wide = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(kept), 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(high), kept);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(low), (__m256i)_mm512_cvtneps_pbh(_mm512_sub_ps(x, wide)));
}

inline bool all_finite(const std::uint16_t* values, i64 count) {
  const __m512i exponent = _mm512_set1_epi16(0x7F80);
  __mmask32 strange = 0;
  for (i64 i = 0; i < count; i += 32) {
    strange |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(_mm512_loadu_si512(values + i), exponent), exponent);
  }
  return strange == 0;
}

// The weighted sums of values so far.
struct AttendedItem {
  RunningSoftmax softmax;
  i64 row, head, first, last;
  float correction;
  bool sees;  // something of the block at hand
};

// Up to kTiles * kTileItems items from `begin` on. Returns false where rows have to be worked on one by one.
template <int kTiles>
bool attend_items(const AttentionTask& task, i64 begin, i64 count) {
  constexpr i64 kMaxChunks = kMaxHeadDim / kChunk;
  alignas(64) std::uint16_t queries[kMaxChunks][kTiles][kTileRows][kChunk];
  alignas(64) std::uint16_t weights[kTiles][kTileRows][kChunk];
  alignas(64) float scores[kTiles][2][kTileRows][kLanes];
  alignas(64) float products[kTiles][kTileRows][kLanes];
  alignas(64) float acc[kTiles * kTileItems][kMaxHeadDim];
  alignas(64) std::uint16_t copy[kMaxHeadDim * kKvBlock];
  AttendedItem items[kTiles * kTileItems];
  const i64 dim = task.head_dim, padded = round_up(dim, kLanes), chunks = (dim + kChunk - 1) / kChunk;
  memset(queries, 0, sizeof queries[0] * static_cast<size_t>(chunks));
  memset(weights, 0, sizeof weights);
  for (i64 i = 0; i < count; ++i) {
    const i64 row = (begin + i) / task.num_query_heads, head = (begin + i) % task.num_query_heads;
    items[i] = {.row = row, .head = head, .first = task.first_of(row), .last = task.last_of(row)};
    const float* query = task.query + row * task.query_stride + head * dim;
    for (i64 d = 0; d < dim; d += kLanes) {
      auto& tile = queries[d / kChunk][i / kTileItems];
      split_halves(_mm512_maskz_loadu_ps(first_lanes(dim - d), query + d), tile[i % kTileItems] + d % kChunk,
                   tile[kTileItems + i % kTileItems] + d % kChunk);
    }
    for (i64 d = 0; d < padded; d += kLanes) _mm512_store_ps(acc[i] + d, _mm512_setzero_ps());
  }
  const AttendedItem &earliest = items[0], &latest = items[count - 1];
  for (i64 block = earliest.first / kKvBlock; block <= latest.last / kKvBlock; ++block) {
    const std::uint16_t* keys = static_cast<const std::uint16_t*>(task.blocks[block]) + task.offset;
    const std::uint16_t* values = keys + padded * kKvBlock;
    if (block < latest.last / kKvBlock) {
      const std::uint16_t* next = static_cast<const std::uint16_t*>(task.blocks[block + 1]) + task.offset;
      for (i64 at = 0; at < 2 * padded * kKvBlock; at += 32) _mm_prefetch(next + at, _MM_HINT_T0);
    }
    const i64 from = block * kKvBlock, to = from + kKvBlock - 1;
    // Where some of the values must not be seen, their weight is 0, but 0 * NaN is not.
    if ((from < latest.first || to > earliest.last) && !all_finite(values, padded * kKvBlock)) {
      if (earliest.row != latest.row) return false;
      for (i64 j = 0; j < kKvBlock; ++j) {
        const bool seen = from + j >= earliest.first && from + j <= earliest.last;
        const i64 at = j / 2 * 2 * padded + j % 2;
        for (i64 d = 0; d < padded; ++d) copy[at + 2 * d] = seen ? values[at + 2 * d] : 0;
      }
      values = copy;
    }
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kTiles > 1) _tile_zero(2);
    if constexpr (kTiles > 1) _tile_zero(3);
    for (i64 c = 0; c < chunks; ++c) {
      const std::uint16_t* part = keys + c * kChunk * kKvBlock;
      alignas(64) std::uint16_t half[kChunk * kKvBlock];
      if (padded - c * kChunk < kChunk) {  // the other half of the tile is values
        memcpy(half, part, sizeof half / 2);
        memset(half + kChunk * kKvBlock / 2, 0, sizeof half / 2);
        part = half;
      }
      written_for_tiles();
      _tile_loadd(6, part, 4 * kKvBlock);
      _tile_loadd(4, queries[c][0], 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, part + kKvBlock, 4 * kKvBlock);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kTiles > 1) {
        _tile_loadd(5, queries[c][kTiles - 1], 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    _tile_stored(0, scores[0][0], 64);
    _tile_stored(1, scores[0][1], 64);
    if constexpr (kTiles > 1) _tile_stored(2, scores[kTiles - 1][0], 64);
    if constexpr (kTiles > 1) _tile_stored(3, scores[kTiles - 1][1], 64);
    for (i64 i = 0; i < count; ++i) {
      AttendedItem& item = items[i];
      const i64 tile = i / kTileItems, at = i % kTileItems;
      item.sees = from <= item.last && to >= item.first;
      Vec mine[kScoreVecs] = {};
      if (item.sees) {
        for (i64 v = 0; v < kScoreVecs; ++v) {
          mine[v] = load(scores[tile][v][at]) + load(scores[tile][v][kTileItems + at]);
        }
        item.correction = item.softmax.add(task, block, item.first, item.last, mine);
      }
      for (i64 v = 0; v < kScoreVecs; ++v) {
        split_halves(reinterpret_cast<__m512>(mine[v]), weights[tile][at] + v * kLanes,
                     weights[tile][kTileItems + at] + v * kLanes);
      }
    }
    written_for_tiles();
    _tile_loadd(4, weights[0], 64);
    if constexpr (kTiles > 1) _tile_loadd(5, weights[kTiles - 1], 64);
    for (i64 c = 0; c < padded; c += kLanes) {
      _tile_zero(0);
      _tile_loadd(6, values + 2 * c, static_cast<size_t>(4 * padded));
      _tile_dpbf16ps(0, 4, 6);
      _tile_stored(0, products[0], 64);
      if constexpr (kTiles > 1) {
        _tile_zero(1);
        _tile_dpbf16ps(1, 5, 6);
        _tile_stored(1, products[kTiles - 1], 64);
      }
      for (i64 i = 0; i < count; ++i) {
        if (!items[i].sees) continue;
        const auto& made = products[i / kTileItems];
        const Vec added = load(made[i % kTileItems]) + load(made[kTileItems + i % kTileItems]);
        store(acc[i] + c, load(acc[i] + c) * items[i].correction + added);
      }
    }
  }
  for (i64 i = 0; i < count; ++i) {
    const float inverse = 1.0f / items[i].softmax.denominator;
    float* out = task.out + items[i].row * task.out_stride + items[i].head * dim;
    for (i64 d = 0; d < dim; ++d) out[d] = acc[i][d] * inverse;
  }
  return true;
}

void attend_tiles(const AttentionTask& task) {
  if (task.type != KvType::bf16) return attend(task);
  const Tiles registers;
  const i64 count = task.num_rows * task.num_query_heads;
  i64 most = 2 * kTileItems;
  for (i64 begin = 0; begin < count;) {
    const i64 left = task.num_query_heads - begin % task.num_query_heads;  // of this row
    const i64 part = count - begin < most ? count - begin : most;
    if (part > kTileItems ? attend_items<2>(task, begin, part) : attend_items<1>(task, begin, part)) {
      begin += part;
    } else {
      most = left < kTileItems ? left : kTileItems;  // one row at a time from here on
    }
  }
}

}  // namespace
}  // namespace mobula::nn
