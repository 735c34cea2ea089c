#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mobula/core.hpp"

namespace mobula {
namespace {

using namespace std::chrono_literals;

/// Holds tasks until the test lets them go.
struct Latch {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return open; });
  }
  void release() {
    std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
};
using SharedLatch = Local<std::shared_ptr<Latch>>;
SharedLatch make_latch() {
  return {std::make_shared<Latch>()};
}

int held_back(SharedLatch latch, int x) {
  latch.value->wait();
  return x;
}

bool gives_up_on_child(SharedLatch latch) {
  Runtime& rt = Runtime::current();
  Ref<int> child = rt.remote<held_back>(latch, 1);
  try {
    rt.get(child, 1ms);
    return false;
  } catch (const TimeoutError&) {
    latch.value->release();
    return rt.get(child) == 1;
  }
}

TEST(Waiting, KeepsItsTimeoutWhereTheTaskCouldRunOnTheSameThread) {
  Runtime rt({.num_cpus = 1});
  EXPECT_TRUE(rt.get(rt.remote<gives_up_on_child>(make_latch())));
}

int sum_of_tree(int depth) {
  if (depth == 0) return 1;
  Runtime& rt = Runtime::current();
  // Made in threads of the user's own, the tasks can't run on the waiting one's stack: all workers wait at once.
  std::vector<Ref<int>> parts(3);
  std::thread([&] {
    for (Ref<int>& part : parts) part = rt.remote<sum_of_tree>(depth - 1);
  }).join();
  rt.wait(parts, {.num_ready = parts.size()});
  int sum = 0;
  for (const Ref<int>& part : parts) sum += rt.get(part);
  return sum;
}

TEST(Waiting, LendsItsSlotWhereAllWorkersWait) {
  Runtime rt({.num_cpus = 2});
  EXPECT_EQ(rt.get(rt.remote<sum_of_tree>(4)), 81);
}

TEST(Waiting, TakesRefsThatAreReadyFromManyThreads) {
  Runtime rt({.num_cpus = 2});
  auto latch = make_latch();
  Ref<int> shared = rt.remote<held_back>(latch, 5);
  std::vector<std::thread> threads;
  std::atomic<int> sum{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int attempt = 0; i % 2 == 1 && attempt < 50; ++attempt) {
        try {
          rt.get(shared, std::chrono::microseconds(attempt * 4));
        } catch (const TimeoutError&) {
          continue;
        }
      }
      sum += rt.get(shared);
    });
  }
  std::this_thread::sleep_for(2ms);
  latch.value->release();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 20);
}

struct Neighbour {
  Actor<Neighbour> other;
  void meet(Actor<Neighbour> neighbour) { other = std::move(neighbour); }
  int value() { return 1; }
  /// Waits for the other one, once both have begun to.
  int ask(SharedLatch self_begun, SharedLatch other_begun) {
    self_begun.value->release();
    other_begun.value->wait();
    return Runtime::current().get(other.call<&Neighbour::value>());
  }
};

TEST(Waiting, RefusesACircleOfActorsThatWaitForOneAnother) {
  Runtime rt({.num_cpus = 2});
  auto a = rt.actor<Neighbour>();
  auto b = rt.actor<Neighbour>();
  rt.get(a.call<&Neighbour::meet>(b));
  rt.get(b.call<&Neighbour::meet>(a));
  auto a_begun = make_latch(), b_begun = make_latch();
  Ref<int> from_a = a.call<&Neighbour::ask>(a_begun, b_begun);
  Ref<int> from_b = b.call<&Neighbour::ask>(b_begun, a_begun);
  // Whichever closed the circle is refused; the other goes on.
  int refused = 0;
  for (const Ref<int>& ref : {from_a, from_b}) {
    try {
      EXPECT_EQ(rt.get(ref), 1);
    } catch (const Error& error) {
      ++refused;
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      EXPECT_NE(error.message().find("would never end"), std::string::npos) << error.message();
      EXPECT_NE(error.message().find("Neighbour::ask"), std::string::npos) << error.message();
    }
  }
  EXPECT_EQ(refused, 1);
  rt.get(a.call<&Neighbour::meet>(Actor<Neighbour>()));
  rt.get(b.call<&Neighbour::meet>(Actor<Neighbour>()));
}

using RefBox = Local<std::shared_ptr<Ref<int>>>;
int wait_for_box(RefBox box, SharedLatch filled) {
  filled.value->wait();
  return Runtime::current().get(*box.value);
}

TEST(Waiting, RefusesATaskThatWaitsForItself) {
  Runtime rt({.num_cpus = 2});
  RefBox box{std::make_shared<Ref<int>>()};
  auto filled = make_latch();
  *box.value = rt.remote<wait_for_box>(box, filled);
  filled.value->release();
  try {
    rt.get(*box.value);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(error.message().find("wait_for_box"), std::string::npos) << error.message();
  }
  *box.value = {};
}

}  // namespace
}  // namespace mobula
