#include "mobula/data/shards/sample_order.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"

namespace mobula::data {
namespace {

TEST(SampleOrder, VisitsEverySampleOnceAnEpochForAnyNumberOfThem) {
  for (const std::uint64_t size : {1u, 2u, 3u, 5u, 16u, 17u, 100u, 1023u, 4097u}) {
    for (const std::uint64_t window : {0u, 1u, 7u, 64u}) {
      const SampleOrder order({.num_samples = size, .seed = 3, .window = window});
      for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
        std::set<std::uint64_t> seen;
        for (std::uint64_t i = 0; i < size; ++i) seen.insert(order.sample_at(epoch * size + i));
        EXPECT_EQ(seen.size(), size);
        EXPECT_EQ(*seen.rbegin(), size - 1);
      }
    }
  }
}

TEST(SampleOrder, MixesInsideWindowsOnly) {
  const SampleOrder order({.num_samples = 1000, .seed = 1, .window = 100});
  for (std::uint64_t begin = 0; begin < 1000; begin += 100) {
    const std::uint64_t window = order.sample_at(begin) / 100;
    for (std::uint64_t i = 0; i < 100; ++i) EXPECT_EQ(order.sample_at(begin + i) / 100, window);
  }
}

TEST(SampleOrder, GivesSmallPermutationsAboutEquallyOften) {
  std::map<std::vector<std::uint64_t>, int> seen;
  for (std::uint64_t seed = 0; seed < 6000; ++seed) {
    const SampleOrder order({.num_samples = 3, .seed = seed});
    ++seen[{order.sample_at(0), order.sample_at(1), order.sample_at(2)}];
  }
  EXPECT_EQ(seen.size(), 6u);
  for (const auto& [permutation, times] : seen) EXPECT_NEAR(times, 1000, 200);
}

TEST(SampleStream, ContinuesOneGlobalOrderOnAnyNumberOfWorkers) {
  const SampleOrder order({.num_samples = 1000, .seed = 9});
  constexpr std::uint64_t kBatch = 840;  // divides by 1 .. 8
  for (std::uint64_t trial = 0; trial < 50; ++trial) {
    Random random(trial);
    std::uint64_t cursor = 0;
    std::vector<std::uint64_t> got;
    while (got.size() < 5000) {  // a kill after a few steps, then another number of workers
      const auto world_size = static_cast<int>(1 + random.below(8));
      std::vector<SampleStream> streams;
      for (int rank = 0; rank < world_size; ++rank)
        streams.emplace_back(order, SampleStreamOptions{rank, world_size, kBatch}, cursor);
      for (std::uint64_t step = 0; step < 1 + random.below(3); ++step) {
        for (auto& stream : streams) {
          for (const std::uint64_t sample : stream.next()) got.push_back(sample);
        }
        cursor += kBatch;
      }
      for (const auto& stream : streams) EXPECT_EQ(stream.cursor(), cursor);
    }
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], order.sample_at(i));
  }
}

TEST(SampleStream, ResumesInTheMiddleOfABillionSamples) {
  const SampleOrder order({.num_samples = 1'000'000'000, .seed = 2});
  SampleStream stream(order, {.rank = 0, .world_size = 1, .batch_size = 4}, 500'000'000);
  EXPECT_EQ(stream.next().front(), order.sample_at(500'000'000));
  EXPECT_EQ(stream.epoch(), 0u);
}

TEST(SampleStream, RefusesRanksAndBatchesThatDoNotFit) {
  const SampleOrder order({.num_samples = 10});
  EXPECT_THROW(SampleStream(order, {.rank = 2, .world_size = 2, .batch_size = 2}), Error);
  EXPECT_THROW(SampleStream(order, {.rank = 0, .world_size = 2, .batch_size = 3}), Error);
  EXPECT_THROW(SampleOrder({.num_samples = 0}), Error);
}

}  // namespace
}  // namespace mobula::data
