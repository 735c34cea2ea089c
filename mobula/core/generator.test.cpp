#include "mobula/core/generator.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "mobula/core/runtime.hpp"

namespace mobula {
namespace {

using namespace std::chrono_literals;

std::atomic<int> num_made{0};
std::atomic<int> num_alive{0};

/// Counts the frames of generators that exist.
struct Alive {
  Alive() { ++num_alive; }
  ~Alive() { --num_alive; }
  Alive(const Alive&) = delete;
  Alive& operator=(const Alive&) = delete;
};

Generator<int> count(int n) {
  const Alive alive;
  for (int i = 0; i < n; ++i) {
    ++num_made;
    co_yield i;
  }
}

Generator<std::string> words(const std::vector<std::string>& all, const std::string& end) {
  for (const std::string& word : all) co_yield word + end;
}

Generator<int> fail_at(int n) {
  for (int i = 0; i < n; ++i) co_yield i;
  throw std::out_of_range("no more");
}

Generator<int> wait_for_cancel() {
  co_yield 1;
  while (!Runtime::cancelled()) std::this_thread::yield();
}

RuntimeOptions two() {
  return {.num_cpus = 2};
}

TEST(Generator, YieldsItsItemsWhenAsked) {
  Generator<int> items = count(2);
  ASSERT_TRUE(items.advance());
  EXPECT_EQ(items.value(), 0);
  ASSERT_TRUE(items.advance());
  EXPECT_EQ(items.value(), 1);
  EXPECT_FALSE(items.advance());
  EXPECT_FALSE(items.advance());
}

TEST(RefStream, GivesEveryItemInOrderAndThenEnds) {
  Runtime rt(two());
  RefStream<int> stream = rt.remote<count>(100);
  for (int i = 0; i < 100; ++i) {
    auto item = stream.next();
    ASSERT_TRUE(item);
    EXPECT_TRUE(item->ready());
    EXPECT_EQ(rt.get(*item), i);
  }
  EXPECT_FALSE(stream.next());
  EXPECT_FALSE(stream.next());
  for (const Ref<int>& item : rt.remote<count>(0)) FAIL() << rt.get(item);
}

TEST(RefStream, KeepsArgumentsThatTheGeneratorRefersTo) {
  Runtime rt(two());
  auto all = rt.put(std::vector<std::string>{"a", "b"});
  std::string text;
  auto stream = rt.remote<words>(all, "!");
  all = {};
  for (const auto& word : stream) text += rt.get(word);
  EXPECT_EQ(text, "a!b!");
}

TEST(RefStream, LeavesNoMoreItemsUnconsumedThanItsBuffer) {
  Runtime rt(two());
  num_made = 0;
  auto stream = rt.with(TaskOptions{.buffer = 3}).remote<count>(1000);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(rt.get(*stream.next()), i);
    EXPECT_LE(num_made, i + 1 + 3);
  }
}

TEST(RefStream, ThrowsAtTheItemWhereTheGeneratorDid) {
  Runtime rt(two());
  auto stream = rt.remote<fail_at>(3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rt.get(*stream.next()), i);
  auto failed = stream.next();
  ASSERT_TRUE(failed);
  try {
    rt.get(*failed);
    FAIL();
  } catch (const TaskError& error) {
    EXPECT_EQ(error.type(), "std::out_of_range");
  }
  EXPECT_FALSE(stream.next());
}

TEST(RefStream, EndsTheGeneratorWhenItIsCancelledOrGone) {
  Runtime rt({.num_cpus = 1});
  num_alive = 0;
  {
    auto stream = rt.remote<count>(1000);
    ASSERT_TRUE(stream.next());
    stream.cancel();
    EXPECT_FALSE(stream.next());
    auto dropped = rt.remote<count>(1000);
    ASSERT_TRUE(dropped.next());
  }
  while (num_alive != 0) std::this_thread::yield();
  auto waiting = rt.remote<wait_for_cancel>();
  EXPECT_EQ(rt.get(*waiting.next()), 1);
  EXPECT_THROW(waiting.next(1ms), TimeoutError);
  waiting.cancel();
  EXPECT_FALSE(waiting.next());
}

TEST(RefStream, HoldsNoProcessorBetweenItems) {
  Runtime rt({.num_cpus = 1});
  std::vector<RefStream<int>> streams;
  for (int i = 0; i < 5; ++i) streams.push_back(rt.with(TaskOptions{.buffer = 1}).remote<count>(50));
  for (int item = 0; item < 50; ++item) {
    for (auto& stream : streams) EXPECT_EQ(rt.get(*stream.next()), item);
  }
}

}  // namespace
}  // namespace mobula
