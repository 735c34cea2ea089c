#include "mobula/core/local/thread_pool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace mobula {
namespace {

using namespace std::chrono_literals;

/// A pool whose jobs are functions.
struct Functions {
  explicit Functions(int num_slots)
      : pool(
            num_slots,
            [](Job job) {
              const std::unique_ptr<std::function<void()>> work(reinterpret_cast<std::function<void()>*>(job));
              (*work)();
            },
            [this] { granted.fetch_add(1); }) {}
  ~Functions() { stop(); }
  void submit(std::function<void()> work, bool next = false) {
    pool.submit(reinterpret_cast<Job>(new std::function<void()>(std::move(work))), next);
  }
  int stop() {
    int dropped = 0;
    pool.stop([&](Job job) {
      delete reinterpret_cast<std::function<void()>*>(job);
      ++dropped;
    });
    return dropped;
  }
  std::atomic<int> granted{0};
  ThreadPool pool;
};

void await(const std::atomic<int>& count, int value) {
  while (count.load() < value) std::this_thread::yield();
}

/// Holds whoever comes until `count` have come.
struct Meeting {
  explicit Meeting(int count) : missing(count) {}
  void attend() {
    missing.fetch_sub(1);
    while (missing.load() > 0) std::this_thread::yield();
    left.fetch_add(1);
  }
  std::atomic<int> missing;
  std::atomic<int> left{0};
};

TEST(ThreadPool, RunsAWorkersOwnJobsNewestFirst) {
  Functions functions(1);
  std::vector<int> order;
  std::atomic<int> count{0};
  functions.submit([&] {
    for (int i = 1; i <= 3; ++i) {
      functions.submit([&, i] {
        order.push_back(i);
        ++count;
      });
    }
    functions.submit(
        [&] {
          order.push_back(4);
          ++count;
        },
        true);
  });
  await(count, 4);
  EXPECT_EQ(order, (std::vector<int>{4, 3, 2, 1}));
}

TEST(ThreadPool, WakesAThreadForEachOfTwoJobsThatWaitForOneAnother) {
  Functions functions(2);
  // Each round begins while the threads are on their way from the last one to sleep, at another point each time.
  for (int round = 0; round < 3000; ++round) {
    Meeting meeting(2);
    functions.submit([&] { meeting.attend(); });
    functions.submit([&] { meeting.attend(); });
    await(meeting.left, 2);
    for (int i = 0; i < (round * 37) % 1500; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
  }
}

TEST(ThreadPool, WakesAThreadWhereTheOneThatLookedForWorkFindsItsOwn) {
  Functions functions(2);
  for (int round = 0; round < 1000; ++round) {
    Meeting meeting(2);
    std::atomic<int> told{0};
    // Says that it looks for work, as before a result is told, and goes on with a long job of its own.
    functions.submit([&] {
      functions.pool.announce_search();
      functions.submit([&] { meeting.attend(); });
      ++told;
    });
    await(told, 1);
    functions.submit([&] { meeting.attend(); });
    await(meeting.left, 2);
  }
}

TEST(ThreadPool, RunsAJobMeantToBeNextElsewhereWhereItsThreadGoesOn) {
  Functions functions(2);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(1ms);  // long enough for a wake, which comes once every half millisecond
    std::atomic<int> done{0};
    functions.submit([&] {
      functions.submit([&] { ++done; }, true);
      await(done, 1);
      ++done;
    });
    await(done, 2);
  }
}

TEST(ThreadPool, ServesOthersWhileThreadsBlock) {
  Functions functions(2);
  constexpr int kBlocked = 20;
  std::atomic<int> blocked{0}, open{0}, left{0};
  for (int i = 0; i < kBlocked; ++i) {
    functions.submit([&] {
      functions.pool.lend_slot();
      ++blocked;
      await(open, 1);
      functions.pool.take_slot_back();
      ++left;
    });
  }
  await(blocked, kBlocked);
  functions.submit([&] { ++open; });
  await(left, kBlocked);
}

TEST(ThreadPool, GrantsSlotsToOthersAndTakesThemBack) {
  Functions functions(2);
  functions.pool.request_slots(2);
  await(functions.granted, 2);
  std::atomic<int> done{0};
  functions.submit([&] { ++done; });
  // Without a slot nothing runs, however long one looks.
  for (int i = 0; i < 100; ++i) std::this_thread::yield();
  EXPECT_EQ(done, 0);
  functions.pool.return_slots(2);
  await(done, 1);
}

TEST(ThreadPool, HandsOutWhatIsQueuedAtItsEnd) {
  Functions functions(1);
  std::atomic<int> running{0}, open{0}, ran{0};
  functions.submit([&] {
    ++running;
    await(open, 1);
  });
  await(running, 1);
  constexpr int kQueued = 500;
  for (int i = 0; i < kQueued; ++i) functions.submit([&] { ++ran; });
  std::thread opener([&] { ++open; });
  const int dropped = functions.stop();
  opener.join();
  EXPECT_EQ(ran + dropped, kQueued);
}

/// Returns how often each of the pool's threads was given a processor, or nothing where one of them is not asleep.
std::string sleepers() {
  std::string counts;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(entry.path() / "status");
    std::ostringstream text;
    text << file.rdbuf();
    const std::string status = text.str();
    if (status.find("Name:\tmobula-task") == std::string::npos) continue;
    if (status.find("State:\tS") == std::string::npos) return {};
    counts += status.substr(status.find("voluntary_ctxt_switches"));
  }
  return counts;
}

TEST(ThreadPool, SleepsForGoodWhereThereIsNothingToDo) {
  Functions functions(2);
  std::atomic<int> done{0};
  functions.submit([&] { ++done; });
  await(done, 1);
  // Threads that looked now and then would be seen to have run between two looks at them.
  std::string before;
  for (int attempt = 0; attempt < 400; ++attempt) {
    const std::string now = sleepers();
    if (!now.empty() && now == before) return;
    before = now;
    std::this_thread::sleep_for(50ms);
  }
  FAIL() << "its threads keep waking up";
}

class ThreadPoolStress : public testing::TestWithParam<unsigned> {};

TEST_P(ThreadPoolStress, RunsEveryJobExactlyOnce) {
  constexpr int kSubmitters = 3;
  constexpr int kRoots = 300;
  Functions functions(3);
  std::atomic<int> count{0};
  std::atomic<int> expected{0};
  // Jobs submit others, as next or not, block with their slot lent, and end in any order.
  std::function<void(unsigned, int)> work = [&](unsigned seed, int depth) {
    std::mt19937 random(seed);
    if (random() % 16 == 0) {
      functions.pool.lend_slot();
      if (random() % 4 == 0) std::this_thread::yield();
      functions.pool.take_slot_back();
    }
    if (depth > 0) {
      const auto children = static_cast<int>(random() % 4);
      expected += children;
      for (int i = 0; i < children; ++i) {
        const auto child = static_cast<unsigned>(random());
        functions.submit([&, child, depth] { work(child, depth - 1); }, random() % 3 == 0);
      }
    }
    if (random() % 8 == 0) functions.pool.announce_search();
    ++count;
  };
  std::vector<std::thread> submitters;
  for (unsigned i = 0; i < kSubmitters; ++i) {
    submitters.emplace_back([&, i] {
      std::mt19937 random(GetParam() * 100 + i);
      for (int root = 0; root < kRoots; ++root) {
        const auto seed = static_cast<unsigned>(random());
        ++expected;
        functions.submit([&, seed] { work(seed, 3); });
        if (random() % 32 == 0) std::this_thread::sleep_for(100us);
      }
    });
  }
  for (std::thread& submitter : submitters) submitter.join();
  while (count.load() != expected.load()) std::this_thread::yield();
  EXPECT_EQ(functions.stop(), 0);
  EXPECT_EQ(count.load(), expected.load());
}

INSTANTIATE_TEST_SUITE_P(Seeds, ThreadPoolStress, testing::Range(1U, 6U));

}  // namespace
}  // namespace mobula
