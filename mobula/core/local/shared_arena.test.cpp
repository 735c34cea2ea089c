#include "mobula/core/local/shared_arena.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace mobula {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

std::uint64_t resident(const SharedArena& arena) {
  struct stat info {};
  fstat(arena.descriptor(), &info);
  return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

TEST(SharedArena, HandsOutBlocksThatDoNotOverlapAndKeepTheirContent) {
  SharedArena arena(256 * kMiB);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> blocks;
  for (const std::uint64_t size : {1UL, 4096UL, 4097UL, 40'000UL, 1UL << 20, (1UL << 20) + 1, 20UL << 20, 3UL << 20}) {
    const std::uint64_t offset = arena.try_allocate(size);
    ASSERT_NE(offset, 0U);
    std::memset(arena.at(offset), static_cast<int>(blocks.size() + 1), size);
    blocks.emplace_back(offset, size);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_EQ(arena.at(blocks[i].first)[0], static_cast<char>(i + 1));
    EXPECT_EQ(arena.at(blocks[i].first)[blocks[i].second - 1], static_cast<char>(i + 1));
  }
  for (const auto& [offset, size] : blocks) arena.free(offset, size);
  EXPECT_EQ(arena.bytes_in_use(), 0U);
}

TEST(SharedArena, WastesAtMostAQuarterOfABlock) {
  for (std::uint64_t pages = 1; pages <= 10'000; ++pages) {
    const std::uint64_t bytes = pages * SharedArena::kPage;
    EXPECT_GE(SharedArena::footprint(bytes), bytes);
    EXPECT_LE(SharedArena::footprint(bytes), bytes + bytes / 4) << pages;
    EXPECT_EQ(SharedArena::footprint(SharedArena::footprint(bytes)), SharedArena::footprint(bytes));
  }
}

TEST(SharedArena, RefusesWhatItsBudgetHasNoRoomFor) {
  SharedArena arena(8 * kMiB);
  const std::uint64_t first = arena.try_allocate(6 * kMiB);
  EXPECT_NE(first, 0U);
  EXPECT_EQ(arena.try_allocate(3 * kMiB), 0U);
  EXPECT_NE(arena.try_allocate(kMiB), 0U);
  arena.free(first, 6 * kMiB);
  EXPECT_NE(arena.try_allocate(3 * kMiB), 0U);
}

TEST(SharedArena, UsesAgainWhatWasGivenBack) {
  SharedArena arena(1024 * kMiB);
  for (const std::uint64_t size : {std::uint64_t{5000}, 2 * kMiB, 32 * kMiB, 512 * kMiB}) {
    std::set<std::uint64_t> places;
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t offset = arena.try_allocate(size);
      ASSERT_NE(offset, 0U);
      places.insert(offset);
      arena.free(offset, size);
    }
    EXPECT_LE(places.size(), 2U) << size;
  }
}

TEST(SharedArena, GivesMostMemoryBackToTheSystem) {
  SharedArena arena(1024 * kMiB);
  std::vector<std::uint64_t> offsets;
  for (int i = 0; i < 6; ++i) {
    offsets.push_back(arena.try_allocate(80 * kMiB));
    for (std::uint64_t at = 0; at < 80 * kMiB; at += SharedArena::kPage) arena.at(offsets.back())[at] = 1;
  }
  EXPECT_GE(resident(arena), 480 * kMiB);
  for (const std::uint64_t offset : offsets) arena.free(offset, 80 * kMiB);
  EXPECT_LE(resident(arena), 260 * kMiB);
}

TEST(SharedArena, IsSharedByProcessesAndThreadsThatTakeBlocksAtOnce) {
  SharedArena driver(64 * kMiB);
  SharedArena worker(Descriptor(fcntl(driver.descriptor(), F_DUPFD_CLOEXEC, 0)));
  const std::uint64_t offset = worker.try_allocate(10'000);
  std::strcpy(worker.at(offset), "seen");
  EXPECT_STREQ(driver.at(offset), "seen");
  driver.free(offset, 10'000);
  // Each takes blocks, marks them as its own, and finds its mark again before the driver gives them back.
  std::vector<std::thread> threads;
  std::atomic<int> spoiled{0};
  for (int id = 1; id <= 4; ++id) {
    threads.emplace_back([&, id] {
      SharedArena& mine = id % 2 == 0 ? driver : worker;
      for (int round = 0; round < 5000; ++round) {
        const std::uint64_t size = 4096U * static_cast<std::uint64_t>(1 + round % 3);
        const std::uint64_t block = mine.try_allocate(size);
        if (block == 0) continue;
        // Atomic for ThreadSanitizer alone: to it the two mappings are different memory, and what one gives back was not
        // taken from the other.
        std::atomic_ref<std::uint64_t> word(reinterpret_cast<std::uint64_t*>(mine.at(block))[2]);
        word.store(static_cast<std::uint64_t>(id), std::memory_order_relaxed);
        std::this_thread::yield();
        if (word.load(std::memory_order_relaxed) != static_cast<std::uint64_t>(id)) ++spoiled;
        driver.free(block, size);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(spoiled, 0);
  EXPECT_EQ(driver.bytes_in_use(), 0U);
}

}  // namespace
}  // namespace mobula
