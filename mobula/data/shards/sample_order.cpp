#include "mobula/data/shards/sample_order.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"

namespace mobula::data {
namespace {

constexpr int kRounds = 6;

}  // namespace

SampleOrder::SampleOrder(SampleOrderOptions options) : options_(options) {
  if (options_.num_samples == 0) throw_invalid("sample order: no samples");
  if (options_.num_samples >> 62 != 0)
    throw_invalid(fmt::format("sample order: {} samples; less than 2^62 are expected", options_.num_samples));
}

std::uint64_t SampleOrder::permute(std::uint64_t index, std::uint64_t size, std::uint64_t stream) const {
  if (size == 1) return 0;
  // Two halves of as many bits each; at most four times as many numbers as samples, so a walk takes four steps at most on
  // average.
  const int half_bits = std::max(1, (static_cast<int>(std::bit_width(size - 1)) + 1) / 2);
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
  const std::array<std::uint32_t, 2> key{static_cast<std::uint32_t>(options_.seed),
                                         static_cast<std::uint32_t>(options_.seed >> 32)};
  do {
    std::uint64_t left = index >> half_bits;
    std::uint64_t right = index & mask;
    for (int round = 0; round < kRounds; ++round) {
      const auto words = philox({static_cast<std::uint32_t>(right), static_cast<std::uint32_t>(round),
                                 static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
                                key);
      const std::uint64_t mixed = (left ^ words[0]) & mask;
      left = right;
      right = mixed;
    }
    index = left << half_bits | right;
  } while (index >= size);
  return index;
}

std::uint64_t SampleOrder::sample_at(std::uint64_t position) const {
  const std::uint64_t epoch = position / options_.num_samples;
  const std::uint64_t index = position % options_.num_samples;
  if (!options_.shuffle) return index;
  const std::uint64_t window = options_.window;
  if (window == 0 || window >= options_.num_samples) return permute(index, options_.num_samples, epoch << 1);
  // Whole windows change places; the last one, which may be short, stays where it is. Then each is mixed inside.
  const std::uint64_t num_whole = options_.num_samples / window;
  const std::uint64_t place = index / window;
  const std::uint64_t which = place < num_whole ? permute(place, num_whole, epoch << 1) : place;
  const std::uint64_t size = std::min(window, options_.num_samples - which * window);
  return which * window + permute(index % window, size, ((epoch << 32 ^ which) << 1) + 1);
}

SampleStream::SampleStream(SampleOrder order, SampleStreamOptions options, std::uint64_t cursor)
    : order_(order), options_(options), cursor_(cursor) {
  if (options_.world_size <= 0 || options_.rank < 0 || options_.rank >= options_.world_size) {
    throw_invalid(fmt::format("sample stream: rank {} of {}", options_.rank, options_.world_size));
  }
  const auto world_size = static_cast<std::uint64_t>(options_.world_size);
  if (options_.batch_size == 0 || options_.batch_size % world_size != 0) {
    throw_invalid(
        fmt::format("sample stream: a batch of {} does not divide among {} workers", options_.batch_size, world_size),
        "batch_size counts the samples of all workers");
  }
}

std::vector<std::uint64_t> SampleStream::next() {
  const std::uint64_t share = options_.batch_size / static_cast<std::uint64_t>(options_.world_size);
  std::vector<std::uint64_t> samples(share);
  const std::uint64_t first = cursor_ + share * static_cast<std::uint64_t>(options_.rank);
  for (std::uint64_t i = 0; i < share; ++i) samples[i] = order_.sample_at(first + i);
  cursor_ += options_.batch_size;
  return samples;
}

}  // namespace mobula::data
