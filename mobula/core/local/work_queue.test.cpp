#include "mobula/core/local/work_queue.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace mobula {
namespace {

Job steal(WorkQueue& queue) {
  bool contended = false;
  return queue.steal(contended);
}

TEST(WorkQueue, GivesItsOwnerTheNewestAndThievesTheOldest) {
  WorkQueue queue;
  for (Job job = 1; job <= 4; ++job) queue.push(job);
  EXPECT_EQ(queue.size(), 4);
  EXPECT_EQ(queue.pop(), 4U);
  EXPECT_EQ(steal(queue), 1U);
  EXPECT_EQ(queue.pop(), 3U);
  EXPECT_EQ(steal(queue), 2U);
  EXPECT_EQ(queue.pop(), 0U);
  EXPECT_EQ(steal(queue), 0U);
  EXPECT_EQ(queue.size(), 0);
}

TEST(WorkQueue, KeepsOrderAsItGrowsAndWraps) {
  WorkQueue queue;
  Job pushed = 0;
  Job stolen = 0;
  // The ring wraps several times before it has to grow, with jobs across its end each time.
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 200; ++i) queue.push(++pushed);
    for (int i = 0; i < 150; ++i) ASSERT_EQ(steal(queue), ++stolen);
  }
  while (stolen < pushed) ASSERT_EQ(steal(queue), ++stolen);
  EXPECT_EQ(steal(queue), 0U);
}

class WorkQueueStress : public testing::TestWithParam<unsigned> {};

TEST_P(WorkQueueStress, HandsEveryJobOutExactlyOnce) {
  constexpr std::size_t kJobs = 30'000;
  WorkQueue queue;
  std::vector<std::atomic<int>> taken(kJobs + 1);
  std::atomic<bool> done{false};
  std::vector<std::thread> thieves;
  for (int i = 0; i < 3; ++i) {
    thieves.emplace_back([&] {
      while (!done.load() || queue.size() > 0) {
        if (const Job job = steal(queue)) taken[job].fetch_add(1);
      }
    });
  }
  std::mt19937 random(GetParam());
  for (Job job = 1; job <= kJobs;) {
    // Bursts around the queue's emptiness, where owner and thieves want the same job.
    for (unsigned burst = random() % 4; burst > 0 && job <= kJobs; --burst) queue.push(job++);
    for (unsigned burst = random() % 4; burst > 0; --burst) {
      if (const Job mine = queue.pop()) taken[mine].fetch_add(1);
    }
    if (random() % 512 == 0) {
      for (int burst = 0; burst < 300 && job <= kJobs; ++burst) queue.push(job++);
    }
  }
  while (const Job mine = queue.pop()) taken[mine].fetch_add(1);
  done = true;
  for (std::thread& thief : thieves) thief.join();
  for (std::size_t job = 1; job <= kJobs; ++job) ASSERT_EQ(taken[job].load(), 1) << "job " << job;
}

INSTANTIATE_TEST_SUITE_P(Seeds, WorkQueueStress, testing::Range(1U, 7U));

}  // namespace
}  // namespace mobula
