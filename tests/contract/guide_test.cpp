// What docs/core.md shows, compiled and run on every engine: tests/e2e/guide_test.py holds the guide to this file.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "every_engine.hpp"

namespace guide {

using namespace mobula;
using namespace std::chrono_literals;

int square(int x) {
  return x * x;
}

double total(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double total_in_place(View<std::vector<double>> values) {
  double sum = 0;
  for (double x : *values) sum += x;
  return sum;
}

int load(std::string path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + ": not there yet");
  int value = 0;
  file >> value;
  return value;
}

int patient() {
  while (!Runtime::cancelled()) usleep(1000);
  return 0;
}

Generator<std::string> lines(std::string path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) co_yield line;
}

struct Counter {
  int n = 0;
  explicit Counter(int start) : n(start) {}
  int add(int k) { return n += k; }
};

class Store {
 public:
  int slow_load(int key) {
    usleep(100);
    return key;
  }
  int size() const { return 3; }
};

class Guide : public contract::EveryEngine {};

TEST_P(Guide, Tasks) {
  Ref<int> a = rt.remote<square>(7);
  Ref<int> b = rt.remote<square>(a);
  int n = rt.get(b);
  EXPECT_EQ(n, 2401);

  std::vector<Ref<int>> refs{rt.remote<square>(1), rt.remote<square>(2)};
  auto [ready, pending] = rt.wait(refs, {.num_ready = 1, .timeout = 1s});
  EXPECT_EQ(ready.size() + pending.size(), 2U);

  auto big = rt.with(TaskOptions{.cpus = 2, .memory = 1 << 20, .name = "big"}).remote<square>(3);
  EXPECT_EQ(rt.get(big), 9);
}

TEST_P(Guide, Objects) {
  Ref<std::vector<double>> values = rt.put(std::vector<double>(1000, 0.5));
  double sum = rt.get(rt.remote<total>(values));
  double same = rt.get(rt.remote<total_in_place>(values));
  double first = (*rt.view(values))[0];
  EXPECT_EQ(sum, same);
  EXPECT_EQ(first, 0.5);
}

TEST_P(Guide, Failures) {
  const TaskOptions stubborn{.retries = 5, .retry_on = exception_types<std::runtime_error>(), .timeout = 30s};
  try {
    rt.get(rt.with(stubborn).remote<load>("/nowhere/at/all"));
  } catch (const TaskError& error) {
    std::fprintf(stderr, "%s: %s\n", error.type().c_str(), error.message().c_str());
    EXPECT_EQ(error.type(), "std::runtime_error");
  }

  if (!cancels()) return;
  Ref<int> endless = rt.remote<patient>();
  rt.cancel(endless);
  EXPECT_EQ(rt.wait(std::vector{endless}).ready.size(), 1U);
}

TEST_P(Guide, Streams) {
  const std::string path = testing::TempDir() + "mobula-guide-" + std::to_string(getpid());
  std::ofstream(path) << "one\ntwo\nthree\n";
  int count = 0;

  RefStream<std::string> stream = rt.with(TaskOptions{.buffer = 4}).remote<lines>(path);
  while (auto line = stream.next(10s)) {
    if (rt.get(*line) == "two") stream.cancel();
    ++count;
  }
  EXPECT_EQ(count, 2);
  std::remove(path.c_str());
}

TEST_P(Guide, Actors) {
  Actor<Counter> counter = rt.actor<Counter>(10);
  Ref<int> sum = counter.call<&Counter::add>(5);
  counter.tell<&Counter::add>(1);
  EXPECT_EQ(rt.get(sum), 15);

  auto named = rt.with(ActorOptions{.name = "score", .max_restarts = 3}).get_or_create<Counter>(0);
  auto found = rt.find_actor<Counter>("score");
  rt.get(rt.stop(named));

  ActorPool<Counter> pool(rt, {.min_size = 1, .max_size = 2}, 100);
  for (int value : rt.get(pool.map<&Counter::add>(std::vector{1, 2, 3}))) EXPECT_GT(value, 100);

  if (on_ray()) return;  // refuses several calls at once
  auto store = rt.with(ActorOptions{.groups = {{"io", 2}}}).actor<Store>();
  auto loaded = store.in("io").call<&Store::slow_load>(7);
  auto size = store.call<&Store::size>();
  EXPECT_EQ(rt.get(loaded) + rt.get(size), 10);
}

TEST_P(Guide, Placement) {
  PlacementGroup group = rt.placement_group({{.cpus = 1}, {.cpus = 1}}, {.strategy = PlacementStrategy::pack});
  group.wait(10s);
  auto placed = rt.with(TaskOptions{.placement = group.bundle(1)}).remote<square>(4);
  EXPECT_EQ(rt.get(placed), 16);
  group.remove();
}

INSTANTIATE_TEST_SUITE_P(Contract, Guide, testing::ValuesIn(contract::every_engine()), contract::engine_name);

}  // namespace guide
