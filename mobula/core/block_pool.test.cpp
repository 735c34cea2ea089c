#include "mobula/core/block_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace mobula {
namespace {

/// Tests take a size each, so that what others gave back is not in their way.
constexpr std::size_t kSizeOfReuse = 440;
constexpr std::size_t kSizeOfEnded = 380;

TEST(BlockPool, GivesBlocksOfTheirOwnOnCacheLines) {
  std::set<std::uintptr_t> seen;
  std::vector<std::pair<void*, std::size_t>> blocks;
  for (std::size_t bytes : {1, 63, 64, 65, 128, 200, 511, 512, 513, 4000}) {
    for (int i = 0; i < 300; ++i) {
      void* block = allocate_block(bytes);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % kBlockGranularity, 0U);
      EXPECT_TRUE(seen.insert(reinterpret_cast<std::uintptr_t>(block)).second);
      std::memset(block, static_cast<int>(bytes), bytes);
      blocks.emplace_back(block, bytes);
    }
  }
  for (const auto& [block, bytes] : blocks) {
    EXPECT_EQ(static_cast<unsigned char*>(block)[bytes - 1], static_cast<unsigned char>(bytes));
    free_block(block, bytes);
  }
}

TEST(BlockPool, UsesBlocksAgain) {
  std::set<void*> first;
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; ++i) first.insert(blocks.emplace_back(allocate_block(kSizeOfReuse)));
  for (void* block : blocks) free_block(block, kSizeOfReuse);
  blocks.clear();
  for (int i = 0; i < 1000; ++i) {
    blocks.push_back(allocate_block(kSizeOfReuse));
    EXPECT_TRUE(first.contains(blocks.back())) << "block " << i;
  }
  for (void* block : blocks) free_block(block, kSizeOfReuse);
}

TEST(BlockPool, HandsTheBlocksOfAnEndedThreadToOthers) {
  std::set<void*> theirs;
  std::thread thread([&] {
    std::vector<void*> blocks;
    for (int i = 0; i < 1000; ++i) theirs.insert(blocks.emplace_back(allocate_block(kSizeOfEnded)));
    for (void* block : blocks) free_block(block, kSizeOfEnded);
  });
  thread.join();
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; ++i) {
    blocks.push_back(allocate_block(kSizeOfEnded));
    EXPECT_TRUE(theirs.contains(blocks.back())) << "block " << i;
  }
  for (void* block : blocks) free_block(block, kSizeOfEnded);
}

class BlockPoolStress : public testing::TestWithParam<unsigned> {};

TEST_P(BlockPoolStress, NeverGivesOneBlockToTwo) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 20'000;
  // What one thread takes, any other may give back: through a bag that all share.
  std::mutex mutex;
  std::vector<std::pair<std::uint64_t*, std::size_t>> bag;
  std::atomic<std::uint64_t> next_stamp{1};
  std::atomic<int> damaged{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random(GetParam() * 10 + i);
      for (int round = 0; round < kRounds; ++round) {
        const std::size_t bytes = 32 + random() % 480;
        auto* block = static_cast<std::uint64_t*>(allocate_block(bytes));
        const std::uint64_t stamp = next_stamp.fetch_add(1);
        block[0] = stamp;
        block[bytes / 8 - 1] = stamp;
        std::pair<std::uint64_t*, std::size_t> other{block, bytes};
        {
          std::lock_guard lock(mutex);
          bag.push_back(other);
          if (random() % 8 == 0 && bag.size() < 500) continue;
          std::swap(bag[random() % bag.size()], bag.back());
          other = bag.back();
          bag.pop_back();
        }
        if (other.first[0] != other.first[other.second / 8 - 1]) ++damaged;
        free_block(other.first, other.second);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& [block, bytes] : bag) free_block(block, bytes);
  EXPECT_EQ(damaged, 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, BlockPoolStress, testing::Range(1U, 4U));

}  // namespace
}  // namespace mobula
