/// The order of a shuffle: each row goes to one of 1024 buckets at random, by its number alone; then each bucket is
/// shuffled (Fisher and Yates). Every permutation is as likely as any other, a bucket fits the processor's cache, and
/// buckets can lie on disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace mobula::data {

inline constexpr std::size_t kNumBuckets = 1024;

/// Fills in the buckets of rows [first, first + size).
void bucket_rows(std::uint64_t seed, std::uint64_t first, std::span<std::uint16_t> buckets);
/// Shuffles the rows of one bucket.
void shuffle_bucket(std::uint64_t seed, std::size_t bucket, std::span<std::uint32_t> rows);
/// Sorts row numbers by bucket, keeping their order: returns where each bucket begins (and the last ends), fills `rows`.
std::vector<std::size_t> order_by_bucket(std::span<const std::uint16_t> buckets, std::vector<std::uint32_t>& rows);

}  // namespace mobula::data
