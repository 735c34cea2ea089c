#include "mobula/train/collective/sum.hpp"

#include <algorithm>

#include "mobula/train/collective/vector_clones.hpp"

namespace mobula::train {
namespace {

MOBULA_VECTOR_CLONES void add_two(float* out, const float* a, const float* b, std::size_t count) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
}

/// A fixed number of partial sums keeps the order the same for every vector width.
MOBULA_VECTOR_CLONES double squares(const float* values, std::size_t count) {
  constexpr std::size_t kLanes = 32;
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += values[i + lane] * values[i + lane];
  }
  for (std::size_t lane = 0; i < count; ++i, ++lane) lanes[lane] += values[i] * values[i];
  double total = 0;
  for (const float lane : lanes) total += static_cast<double>(lane);
  return total;
}

}  // namespace

void sum_in_order(float* out, std::span<const float* const> sources, std::size_t count) {
  if (sources.size() == 1) {
    if (out != sources[0]) std::copy_n(sources[0], count, out);
    return;
  }
  // In pieces that stay in the first-level cache while the ranks are added one after the other.
  constexpr std::size_t kPiece = 2048;
  for (std::size_t begin = 0; begin < count; begin += kPiece) {
    const std::size_t size = std::min(kPiece, count - begin);
    if (out == sources[0] || sources.size() == 2) {
      add_two(out + begin, sources[0] + begin, sources[1] + begin, size);
      for (std::size_t rank = 2; rank < sources.size(); ++rank) {
        add_two(out + begin, out + begin, sources[rank] + begin, size);
      }
      continue;
    }
    // `out` may be a later source: it is written only once all have been read.
    float piece[kPiece];
    add_two(piece, sources[0] + begin, sources[1] + begin, size);
    for (std::size_t rank = 2; rank < sources.size(); ++rank) add_two(piece, piece, sources[rank] + begin, size);
    std::copy_n(piece, size, out + begin);
  }
}

double sum_of_squares(const float* values, std::size_t count) {
  // Single precision within a block, double precision over blocks.
  constexpr std::size_t kBlock = 8192;
  double total = 0;
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    total += squares(values + begin, std::min(kBlock, count - begin));
  }
  return total;
}

}  // namespace mobula::train
