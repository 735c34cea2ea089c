#include "mobula/nn/decoder/thread_team.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace mobula::nn {
namespace {

TEST(ThreadTeam, DoesEveryNumberOnceInPiecesThatBeginWhereTheyShould) {
  for (const int num_threads : {1, 2, 5}) {
    ThreadTeam team(num_threads);
    ASSERT_EQ(team.num_threads(), num_threads);
    for (const std::int64_t count : {0, 1, 3, 4, 5, 97, 1000}) {
      for (const std::int64_t piece : {1, 4, 100}) {
        std::vector<std::atomic<int>> done(static_cast<std::size_t>(count));
        std::atomic<int> num_odd{0};
        team.run(count, piece, [&](std::int64_t begin, std::int64_t end) {
          if (begin % piece != 0 || begin >= end) ++num_odd;
          for (std::int64_t i = begin; i < end; ++i) ++done[static_cast<std::size_t>(i)];
        });
        EXPECT_EQ(num_odd, 0);
        for (const auto& times : done) ASSERT_EQ(times, 1) << count << " in " << piece;
      }
    }
  }
}

TEST(ThreadTeam, LeavesWhatWasWrittenInALoopForTheNextOne) {
  ThreadTeam team(3);
  std::vector<std::int64_t> numbers(64, 0);
  constexpr int kLoops = 3000;
  for (int loop = 0; loop < kLoops; ++loop) {
    // Each number is made of its neighbour's, which another thread may have written.
    std::vector<std::int64_t> next(numbers.size());
    team.run(64, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) next[static_cast<std::size_t>(i)] = numbers[(i + 1) % 64] + 1;
    });
    numbers = std::move(next);
  }
  for (const std::int64_t number : numbers) EXPECT_EQ(number, kLoops);
}

TEST(ThreadTeam, DoesTheShareOfAThreadThatIsHeldUp) {
  ThreadTeam team(2);
  std::atomic<int> num_done{0};
  std::atomic<bool> all_others_done{false};
  constexpr int kPieces = 100;
  // Whoever gets the last piece of the second share first waits for all the others: they must be done by the other thread.
  team.run(kPieces, 1, [&](std::int64_t begin, std::int64_t) {
    if (begin == kPieces / 2) {
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (num_done < kPieces - 1 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
      all_others_done = num_done == kPieces - 1;
    }
    ++num_done;
  });
  EXPECT_TRUE(all_others_done);
  EXPECT_EQ(num_done, kPieces);
}

TEST(ThreadTeam, WakesWorkersThatSleep) {
  ThreadTeam team(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::mutex mutex;
    std::set<std::thread::id> threads;
    // Each piece waits until another thread has one too.
    team.run(2, 1, [&](std::int64_t, std::int64_t) {
      const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      for (;;) {
        {
          const std::lock_guard lock(mutex);
          threads.insert(std::this_thread::get_id());
          if (threads.size() == 2) return;
        }
        if (std::chrono::steady_clock::now() > give_up) return;
        std::this_thread::yield();
      }
    });
    EXPECT_EQ(threads.size(), 2U);
  }
}

TEST(ThreadTeam, EndsBesideWorkersThatNeverHadWork) {
  for (int i = 0; i < 100; ++i) ThreadTeam team(4);
}

}  // namespace
}  // namespace mobula::nn
