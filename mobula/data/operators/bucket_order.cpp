#include "mobula/data/operators/bucket_order.hpp"

#include <array>
#include <cstring>
#include <utility>

#include "mobula/base/random.hpp"

namespace mobula::data {
namespace {

constexpr int kBucketBits = 10;
static_assert(kNumBuckets == std::size_t{1} << kBucketBits);
constexpr std::uint64_t kBucketStream = 0x627563;  ///< tells the buckets' random numbers from those within them
constexpr std::uint64_t kOrderStream = 0x6f726465;

}  // namespace

// Eight buckets come from one call of the generator.
void bucket_rows(std::uint64_t seed, std::uint64_t first, std::span<std::uint16_t> buckets) {
  std::uint64_t block = first / 8;
  std::size_t skip = first % 8;
  std::size_t at = 0;
  while (at < buckets.size()) {
    const auto words =
        philox({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                static_cast<std::uint32_t>(kBucketStream), static_cast<std::uint32_t>(kBucketStream >> 32)},
               {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
    std::array<std::uint16_t, 8> values{};
    std::memcpy(values.data(), words.data(), sizeof(values));
    for (; skip < 8 && at < buckets.size(); ++skip) buckets[at++] = values[skip] >> (16 - kBucketBits);
    skip = 0;
    ++block;
  }
}

void shuffle_bucket(std::uint64_t seed, std::size_t bucket, std::span<std::uint32_t> rows) {
  Random random(seed, kOrderStream + bucket);
  for (std::size_t left = rows.size(); left > 1; --left) std::swap(rows[left - 1], rows[random.below(left)]);
}

std::vector<std::size_t> order_by_bucket(std::span<const std::uint16_t> buckets, std::vector<std::uint32_t>& rows) {
  std::vector<std::size_t> begins(kNumBuckets + 1);
  for (const std::uint16_t bucket : buckets) ++begins[bucket + 1u];
  for (std::size_t i = 0; i < kNumBuckets; ++i) begins[i + 1] += begins[i];
  rows.resize(buckets.size());
  std::vector<std::size_t> next(begins.begin(), begins.end() - 1);
  for (std::size_t row = 0; row < buckets.size(); ++row) rows[next[buckets[row]]++] = static_cast<std::uint32_t>(row);
  return begins;
}

}  // namespace mobula::data
