// Generators: functions that yield a sequence, on every engine.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "every_engine.hpp"

using namespace std::chrono_literals;

namespace contract {

mobula::Generator<long> squares(long n) {
  for (long i = 0; i < n; ++i) co_yield i* i;
}
mobula::Generator<std::vector<double>> rows(const std::vector<double>& first, int n) {
  std::vector<double> row = first;
  for (int i = 0; i < n; ++i) {
    co_yield row;
    for (double& x : row) x += 1;
  }
}
mobula::Generator<int> stumble(int at) {
  for (int i = 0; i < at; ++i) co_yield i;
  throw std::out_of_range("at " + std::to_string(at));
}
mobula::Generator<int> endless() {
  for (int i = 0;; ++i) co_yield i;
}
mobula::Generator<int> stuck() {
  co_yield 0;
  while (!mobula::Runtime::cancelled()) usleep(100);
}
// Kills its process before item `at` the first time, told by a file.
mobula::Generator<int> dies_at(int at, std::string marker) {
  for (int i = 0; i < 2 * at; ++i) {
    if (i == at) {
      if (std::FILE* file = std::fopen(marker.c_str(), "wx")) {
        std::fclose(file);
        raise(SIGKILL);
      }
    }
    co_yield i;
  }
}

class Streams : public EveryEngine {};
class StreamsOfProcesses : public EveryEngine {};

TEST_P(Streams, GiveEveryItemInOrder) {
  long sum = 0;
  for (const auto& item : rt.remote<squares>(1000L)) sum += rt.get(item);
  EXPECT_EQ(sum, 999L * 1000 * 1999 / 6);
}

TEST_P(Streams, TakeRefsAndYieldLargeValues) {
  auto first = rt.put(std::vector<double>(50'000, 0.5));
  double at = 0.5;
  for (const auto& row : rt.remote<rows>(first, 20)) {
    EXPECT_EQ(rt.view(row)->size(), 50'000U);
    EXPECT_EQ((*rt.view(row))[49'999], at++);
  }
  EXPECT_EQ(at, 20.5);
}

TEST_P(Streams, HandTheirItemsToTasks) {
  std::vector<mobula::Ref<long>> doubled;
  for (const auto& item : rt.remote<squares>(10L)) doubled.push_back(rt.remote<[](long x) { return 2 * x; }>(item));
  EXPECT_EQ(rt.get(doubled).back(), 162);
}

TEST_P(Streams, ThrowWhereTheGeneratorThrew) {
  auto stream = rt.remote<stumble>(2);
  EXPECT_EQ(rt.get(*stream.next()), 0);
  EXPECT_EQ(rt.get(*stream.next()), 1);
  try {
    rt.get(*stream.next());
    FAIL();
  } catch (const mobula::TaskError& error) {
    EXPECT_EQ(error.type(), "std::out_of_range");
    EXPECT_EQ(error.message(), "at 2");
  }
  EXPECT_FALSE(stream.next());
}

TEST_P(Streams, EndWhenCancelled) {
  auto stream = rt.with(mobula::TaskOptions{.buffer = 4}).remote<endless>();
  for (int i = 0; i < 20; ++i) ASSERT_EQ(rt.get(*stream.next()), i);
  stream.cancel();
  EXPECT_FALSE(stream.next());
  auto waiting = rt.remote<stuck>();
  EXPECT_EQ(rt.get(*waiting.next()), 0);
  EXPECT_THROW(waiting.next(20ms), mobula::TimeoutError);
  waiting.cancel();
  EXPECT_FALSE(waiting.next());
}

INSTANTIATE_TEST_SUITE_P(Contract, Streams, testing::ValuesIn(every_engine()), engine_name);

TEST_P(StreamsOfProcesses, GoOnWhereTheirWorkerDied) {
  const std::string marker = testing::TempDir() + "mobula-stream-" + std::to_string(getpid());
  int expected = 0;
  for (const auto& item : rt.remote<dies_at>(20, marker)) ASSERT_EQ(rt.get(item), expected++);
  EXPECT_EQ(expected, 40);
  std::remove(marker.c_str());
}

TEST_P(StreamsOfProcesses, SayHowTheirWorkerDiedWhereRetriesAreUsedUp) {
  const std::string marker = testing::TempDir() + "mobula-stream-once-" + std::to_string(getpid());
  auto stream = rt.with(mobula::TaskOptions{.retries = 0, .buffer = 1}).remote<dies_at>(3, marker);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(rt.get(*stream.next()), i);
  auto lost = stream.next();
  ASSERT_TRUE(lost);
  EXPECT_THROW(rt.get(*lost), mobula::WorkerDiedError);
  EXPECT_FALSE(stream.next());
  std::remove(marker.c_str());
}

INSTANTIATE_TEST_SUITE_P(Contract, StreamsOfProcesses, testing::ValuesIn(engines_with_processes()), engine_name);

}  // namespace contract
