// Attention over the key-value cache: block by block, with a running maximum (Milakov & Gimelshein 2018).
#pragma once

#include "mobula/nn/decoder/vector_kernels.hpp"

namespace mobula::nn {
namespace {

// Returns whole numbers from `first` on, one a lane.
inline IntVec count_from(i64 first) {
  const IntVec lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return lanes + static_cast<std::int32_t>(first);
}

constexpr i64 kScoreVecs = kKvBlock / kLanes;

// One query's softmax so far.
struct RunningSoftmax {
  float max = -INFINITY;
  float denominator = 0.0f;

  // Makes weights of the scores of a block's positions, in place; those outside [first, last] get 0. Returns the factor for
  // what was added up before.
  float add(const AttentionTask& task, i64 block, i64 first, i64 last, Vec (&scores)[kScoreVecs]) {
    const bool whole = block * kKvBlock >= first && (block + 1) * kKvBlock - 1 <= last;
    for (i64 v = 0; v < kScoreVecs; ++v) {
      Vec s = scores[v] * task.scale;
      if (task.softcap > 0) s = task.softcap * tanh_of(s * (1.0f / task.softcap));
      const IntVec positions = count_from(block * kKvBlock + v * kLanes);
      const auto from = static_cast<std::int32_t>(first), to = static_cast<std::int32_t>(last);
      if (task.alibi_slope != 0.0f) s -= task.alibi_slope * __builtin_convertvector(to - positions, Vec);
      if (!whole) s = select((positions < from) | (positions > to), splat(-INFINITY), s);
      scores[v] = s;
    }
    Vec block_max = scores[0];
    for (i64 v = 1; v < kScoreVecs; ++v) block_max = nn::max(block_max, scores[v]);
    const float new_max = fmaxf(max, largest(block_max));
    const float correction = max == -INFINITY ? 0.0f : exp_of(splat(max - new_max))[0];
    Vec total{};
    for (i64 v = 0; v < kScoreVecs; ++v) {
      scores[v] = exp_of(scores[v] - new_max);
      total += scores[v];
    }
    denominator = denominator * correction + sum(total);
    max = new_max;
    return correction;
  }
};

template <i64 kVecs>
struct Columns {
  static constexpr i64 kCount = kVecs;
};

// Reads the vectors of two keys' dimensions, or of two positions' values.
inline void load_pair(const float* p, i64 stride, i64 at, Vec& even, Vec& odd) {
  even = load(p + at);
  odd = load(p + stride + at);
}
inline void load_pair(const std::uint16_t* p, i64, i64 at, Vec& even, Vec& odd) {
  IntVec both;
  memcpy(&both, p + 2 * at, sizeof both);
  const IntVec low = both << 16, high = both & static_cast<std::int32_t>(0xFFFF0000);
  memcpy(&even, &low, sizeof even);
  memcpy(&odd, &high, sizeof odd);
}

// kHeads query heads that share the keys and values, which are read once for all of them. What comes after a block is
// fetched while it is worked on: the next block, behind the last one the next head's first.
template <class Number, int kHeads>
inline void attend_heads(const AttentionTask& task, i64 row, i64 head) {
  constexpr i64 kColumns = 4, kLine = 64 / static_cast<i64>(sizeof(Number));
  const i64 dim = task.head_dim, padded = round_up(dim, kLanes);
  const i64 first = task.first_of(row), last = task.last_of(row);
  const i64 first_block = first / kKvBlock, last_block = last / kKvBlock;
  const float* query = task.query + row * task.query_stride + head * dim;
  float* out = task.out + row * task.out_stride + head * dim;
  float acc[kHeads][kMaxHeadDim];
  RunningSoftmax softmax[kHeads];
  for (int h = 0; h < kHeads; ++h) {
    for (i64 i = 0; i < padded; ++i) acc[h][i] = 0.0f;
  }
  for (i64 block = first_block; block <= last_block; ++block) {
    const Number* keys = static_cast<const Number*>(task.blocks[block]) + task.offset;
    const Number* values = keys + padded * kKvBlock;
    const Number* next = static_cast<const Number*>(task.blocks[block < last_block ? block + 1 : first_block]) +
                         task.offset + (block < last_block ? 0 : 2 * padded * kKvBlock);
    Vec even[kHeads][kScoreVecs] = {}, odd[kHeads][kScoreVecs] = {};
    for (i64 d = 0; d < dim; d += 2) {
      const Number* pair = keys + d * kKvBlock;
      for (i64 at = 0; at < 2 * kKvBlock; at += kLine) __builtin_prefetch(next + d * kKvBlock + at, 0, 2);
      for (i64 v = 0; v < kScoreVecs; ++v) {
        Vec a, b;
        load_pair(pair, kKvBlock, v * kLanes, a, b);
        for (int h = 0; h < kHeads; ++h) {
          even[h][v] += query[h * dim + d] * a;
          if (d + 1 < dim) odd[h][v] += query[h * dim + d + 1] * b;
        }
      }
    }
    float weights[kHeads][kKvBlock], correction[kHeads];
    for (int h = 0; h < kHeads; ++h) {
      Vec scores[kScoreVecs];
      for (i64 v = 0; v < kScoreVecs; ++v) scores[v] = even[h][v] + odd[h][v];
      correction[h] = softmax[h].add(task, block, first, last, scores);
      for (i64 v = 0; v < kScoreVecs; ++v) store(weights[h] + v * kLanes, scores[v]);
    }
    // What lies behind the last position isn't looked at: its weight is 0, but 0 * NaN is not.
    const i64 count = last - block * kKvBlock + 1 < kKvBlock ? last - block * kKvBlock + 1 : kKvBlock;
    const auto add_columns = [&](i64 c, auto columns) {
      constexpr i64 kVecs = decltype(columns)::kCount;
      Vec a[kHeads][kVecs];
      for (int h = 0; h < kHeads; ++h) {
        for (i64 v = 0; v < kVecs; ++v) a[h][v] = load(acc[h] + c + v * kLanes) * correction[h];
      }
      for (i64 j = 0; j < count; j += 2) {
        const Number* pair = values + j * padded;
        for (i64 at = 0; at < 2 * kVecs * kLanes; at += kLine) {
          __builtin_prefetch(next + (kKvBlock + j) * padded + 2 * c + at, 0, 2);
        }
        for (i64 v = 0; v < kVecs; ++v) {
          Vec even_value, odd_value;
          load_pair(pair, padded, c + v * kLanes, even_value, odd_value);
          for (int h = 0; h < kHeads; ++h) {
            a[h][v] += weights[h][j] * even_value;
            if (j + 1 < count) a[h][v] += weights[h][j + 1] * odd_value;
          }
        }
      }
      for (int h = 0; h < kHeads; ++h) {
        for (i64 v = 0; v < kVecs; ++v) store(acc[h] + c + v * kLanes, a[h][v]);
      }
    };
    i64 c = 0;
    for (; c + kColumns * kLanes <= padded; c += kColumns * kLanes) add_columns(c, Columns<kColumns>{});
    for (; c < padded; c += kLanes) add_columns(c, Columns<1>{});
  }
  for (int h = 0; h < kHeads; ++h) {
    const float inverse = 1.0f / softmax[h].denominator;
    for (i64 i = 0; i < dim; ++i) out[h * dim + i] = acc[h][i] * inverse;
  }
}

template <class Number>
void attend_as(const AttentionTask& task) {
  for (i64 row = 0; row < task.num_rows; ++row) {
    i64 head = 0;
    for (; head + 2 <= task.num_query_heads; head += 2) attend_heads<Number, 2>(task, row, head);
    if (head < task.num_query_heads) attend_heads<Number, 1>(task, row, head);
  }
}

void attend(const AttentionTask& task) {
  task.type == KvType::bf16 ? attend_as<std::uint16_t>(task) : attend_as<float>(task);
}

}  // namespace
}  // namespace mobula::nn
