// The death of a worker process loses no object: what is ready lies with the program, what is not is made again.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/core.hpp"

using namespace std::chrono_literals;

namespace contract_lost {

using mobula::Ref;
using mobula::Runtime;
using mobula::RuntimeOptions;
using mobula::TaskOptions;

/// Where a worker dies on its way with one call.
enum class Step { decode, body, put, submit, count, write, write_handle, none };

void die_once(Step here, Step step, const std::string& marker) {
  if (here != step) return;
  if (std::FILE* file = std::fopen(marker.c_str(), "wx")) {
    std::fclose(file);
    raise(SIGKILL);
  }
}

std::vector<double> range(std::size_t n) {
  std::vector<double> values(n);
  std::iota(values.begin(), values.end(), 0.0);
  return values;
}
int square(int x) {
  return x * x;
}
int num_encodings = 0;  ///< of the running call's result

/// A value that kills the worker process which reads or writes it.
struct Fragile {
  Step step = Step::none;
  std::string marker;
  std::vector<double> values;
  Ref<std::vector<double>> put;
  Ref<int> submitted;
  bool outward = false;  ///< on its way back from the worker
};
struct Order {
  Step step = Step::none;
  std::string marker;
  std::size_t size = 0;
};

}  // namespace contract_lost

template <>
struct mobula::Codec<contract_lost::Fragile> {
  static void encode(WireWriter& out, const contract_lost::Fragile& value) {
    using contract_lost::Step;
    // Its size is counted first.
    const Step here = ++contract_lost::num_encodings == 1 ? Step::count : Step::write;
    if (value.outward) contract_lost::die_once(here, value.step, value.marker);
    codec::encode(out, value.step);
    codec::encode(out, value.marker);
    codec::encode(out, value.values);
    codec::encode(out, value.put);
    if (value.outward) contract_lost::die_once(Step::write_handle, value.step, value.marker);
    codec::encode(out, value.submitted);
  }
  static contract_lost::Fragile decode(WireReader& in) {
    contract_lost::Fragile value;
    value.step = codec::decode<contract_lost::Step>(in);
    value.marker = codec::decode<std::string>(in);
    value.values = codec::decode<std::vector<double>>(in);
    value.put = codec::decode<Ref<std::vector<double>>>(in);
    value.submitted = codec::decode<Ref<int>>(in);
    return value;
  }
};
template <>
struct mobula::Codec<contract_lost::Order> {
  static void encode(WireWriter& out, const contract_lost::Order& order) {
    codec::encode(out, order.step);
    codec::encode(out, order.marker);
    codec::encode(out, order.size);
  }
  static contract_lost::Order decode(WireReader& in) {
    contract_lost::Order order;
    order.step = codec::decode<contract_lost::Step>(in);
    order.marker = codec::decode<std::string>(in);
    order.size = codec::decode<std::size_t>(in);
    contract_lost::die_once(contract_lost::Step::decode, order.step, order.marker);
    return order;
  }
};

namespace contract_lost {

Fragile make(Order order) {
  Runtime& rt = Runtime::current();
  num_encodings = 0;
  die_once(Step::body, order.step, order.marker);
  Fragile made{.step = order.step, .marker = order.marker, .values = range(order.size), .outward = true};
  made.put = rt.put(range(order.size + 1));
  die_once(Step::put, order.step, order.marker);
  made.submitted = rt.remote<square>(static_cast<int>(order.size % 100));
  die_once(Step::submit, order.step, order.marker);
  return made;
}

std::uint64_t memory_in_use(Runtime& rt) {
  return rt.state().tasks.objects.bytes_in_memory;
}

TEST(LostObjects, AreNoneWhereverAWorkerDies) {
  Runtime rt(RuntimeOptions{.isolation = mobula::Isolation::process, .num_cpus = 1, .memory = 64 << 20});
  const mobula::TemporaryDirectory folder("mobula-lost");
  const auto before = rt.put(range(50'000));
  rt.get(rt.remote<make>(Order{.size = 3}));
  const std::uint64_t in_use = memory_in_use(rt);
  for (const std::size_t size : {std::size_t{3}, std::size_t{40'000}}) {
    for (const Step step : {Step::decode, Step::body, Step::put, Step::submit, Step::count, Step::write,
                            Step::write_handle, Step::none}) {
      const std::string marker =
          (folder.path() / (std::to_string(static_cast<int>(step)) + "-" + std::to_string(size))).string();
      {
        const Fragile made = rt.get(rt.remote<make>(Order{.step = step, .marker = marker, .size = size}));
        EXPECT_EQ(std::filesystem::exists(marker), step != Step::none) << static_cast<int>(step);
        EXPECT_EQ(made.values, range(size));
        EXPECT_EQ(rt.get(made.put), range(size + 1));
        EXPECT_EQ(rt.get(made.submitted), square(static_cast<int>(size % 100)));
      }
      EXPECT_EQ(rt.view(before)->back(), 49'999.0);
    }
  }
  // Nothing that the dead held is kept: the sessions' ends may take a moment.
  for (int i = 0; i < 2000 && memory_in_use(rt) != in_use; ++i) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(memory_in_use(rt), in_use);
}

Ref<std::vector<double>> put_range(std::size_t n) {
  return Runtime::current().put(range(n));
}
double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}
double sum_of_two(std::size_t n) {
  Runtime& rt = Runtime::current();
  auto a = rt.with(TaskOptions{.retries = 1000}).remote<range>(n);
  auto b = rt.with(TaskOptions{.retries = 1000}).remote<sum>(a);
  return rt.get(b) + sum(rt.get(a));
}
mobula::Generator<std::vector<double>> stream(std::size_t n) {
  for (std::size_t i = 0; i < 5; ++i) co_yield range(n + i);
}

std::uint64_t num_succeeded(Runtime& rt) {
  std::uint64_t calls = 0;
  for (const auto& function : rt.state().tasks.functions) calls += function.num_ended - function.num_failed;
  return calls;
}

TEST(LostObjects, AreNoneWhileWorkersAreKilledAtRandom) {
  Runtime rt(RuntimeOptions{.isolation = mobula::Isolation::process, .num_cpus = 2, .memory = 256 << 20});
  const TaskOptions stubborn{.retries = 1000};
  rt.record(true);
  std::jthread killer([&](const std::stop_token& over) {
    std::mt19937 random(7);
    while (!over.stop_requested()) {
      // Workers that never get to begin anything are given up, on a slow machine too: let one finish something first.
      const std::uint64_t before = num_succeeded(rt);
      std::this_thread::sleep_for(
          std::chrono::microseconds(std::uniform_int_distribution<int>(30'000, 90'000)(random)));
      while (num_succeeded(rt) == before && !over.stop_requested()) std::this_thread::sleep_for(1ms);
      const std::vector<pid_t> workers = rt.engine()->worker_pids();
      if (!workers.empty()) kill(workers[random() % workers.size()], SIGKILL);
    }
  });
  std::vector<Ref<std::vector<double>>> kept;
  for (std::size_t round = 0; round < 20; ++round) {
    const std::size_t n = 5'000 + 100 * round;
    auto result = rt.with(stubborn).remote<range>(n);
    auto put = rt.with(stubborn).remote<put_range>(n);
    auto two = rt.with(stubborn).remote<sum_of_two>(n);
    auto items = rt.with(stubborn).remote<stream>(n);
    kept.push_back(result);
    kept.push_back(rt.get(put));
    EXPECT_EQ(rt.get(two), static_cast<double>(n - 1) * static_cast<double>(n));
    for (const auto& item : items) kept.push_back(item);
    EXPECT_EQ(kept.size(), 7 * (round + 1));
  }
  killer.request_stop();
  killer.join();
  // Whatever was ready once is still there, after the deaths of everybody who had a part in it.
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const std::size_t n = 5'000 + 100 * (i / 7) + (i % 7 < 2 ? 0 : i % 7 - 2);
    ASSERT_EQ(rt.get(kept[i]), range(n)) << i;
  }
}

TEST(LostObjects, AreNamedWhereTheDiskHasLostThem) {
  const mobula::TemporaryDirectory folder("mobula-lost");
  Runtime rt(RuntimeOptions{
      .isolation = mobula::Isolation::process, .num_cpus = 1, .memory = 4 << 20, .spill_dir = folder.path()});
  std::vector<Ref<std::vector<double>>> refs;
  for (std::size_t i = 0; i < 6; ++i) refs.push_back(rt.put(range(125'000 + i)));
  ASSERT_GE(rt.state().tasks.objects.num_spills, 2U);
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (!target.starts_with(folder.path().string())) continue;
    ASSERT_EQ(ftruncate(std::stoi(entry.path().filename().string()), 0), 0);
    ++num_files;
  }
  ASSERT_EQ(num_files, 1);
  try {
    rt.view(refs[0]);
    FAIL();
  } catch (const mobula::ObjectLostError& error) {
    EXPECT_NE(error.message().find("an object of 1 MB is lost"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find(folder.path().string()), std::string::npos) << error.message();
    EXPECT_FALSE(error.hint().empty());
  }
  EXPECT_THROW(rt.get(rt.remote<sum>(refs[1])), mobula::ObjectLostError);
  // What was in memory is not touched, and the engine goes on.
  EXPECT_EQ(rt.view(refs[5])->size(), 125'005U);
  EXPECT_EQ(rt.get(rt.remote<square>(3)), 9);
}

}  // namespace contract_lost
