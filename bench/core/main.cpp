// bench_core [--json] [--only start|threads|processes|peers|queue]: what a task, a message and an object cost. One line a
// metric; the names are those that ./dev bench core promises.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "measure.hpp"
#include "mobula/base/json.hpp"
#include "mobula/core.hpp"

using namespace std::chrono_literals;

namespace {

bool as_json = false;
std::atomic<long> counted{0};
std::atomic<bool> held{false};

void count() {
  counted.fetch_add(1, std::memory_order_relaxed);
}
int one() {
  return 1;
}
int hold() {
  while (held.load()) std::this_thread::sleep_for(1ms);
  return 0;
}
std::size_t size_of(mobula::View<std::vector<char>> bytes) {
  return bytes->size();
}

struct Counter {
  long n = 0;
  void add(int k) { n += k; }
  long get() const { return n; }
};

struct Player {
  mobula::Actor<Player> peer;
  std::atomic<bool>* done = nullptr;
  void meet(mobula::Actor<Player> other, mobula::Local<std::atomic<bool>*> flag) {
    peer = std::move(other);
    done = flag.value;
  }
  void hit(int left) {
    if (left > 0) {
      peer.tell<&Player::hit>(left - 1);
    } else {
      done->store(true);
      done->notify_one();
    }
  }
  void part() { peer = {}; }
};

void report_own(const std::string& metric, double value, const std::string& unit) {
  bench::report({metric, value, unit, "mobula"});
}

/// Returns a process's own share of the memory it maps, in bytes.
double memory_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/smaps_rollup", pid));
  std::string word;
  while (file >> word) {
    if (word != "Pss:") continue;
    double kilobytes = 0;
    file >> kilobytes;
    return kilobytes * 1024;
  }
  return 0;
}

void measure_start() {
  std::vector<double> values;
  for (int i = 0; i < 20; ++i) {
    const auto start = std::chrono::steady_clock::now();
    mobula::Runtime rt(mobula::RuntimeOptions{.num_cpus = 2});
    rt.get(rt.remote<one>());
    values.push_back(bench::seconds_since(start) * 1e6);
  }
  report_own("start_to_first_result_us", bench::median(values), "us");
}

void measure_idle() {
  mobula::Runtime rt(mobula::RuntimeOptions{.isolation = mobula::Isolation::process, .num_cpus = 2});
  std::vector<mobula::Ref<int>> refs;
  for (int i = 0; i < 100; ++i) refs.push_back(rt.remote<one>());
  rt.get(refs);
  double bytes = memory_of(getpid());
  for (pid_t pid : rt.engine()->worker_pids()) bytes += memory_of(pid);
  report_own("idle_memory_mb", bytes / 1e6, "MB");
}

void measure_threads() {
  mobula::Runtime rt(mobula::RuntimeOptions{.num_cpus = 2});
  constexpr int kTasks = 1'000'000;
  mobula::TaskGroup group(rt);
  report_own("noop_fire_join_per_s",
             bench::rate(5, kTasks,
                         [&] {
                           for (int i = 0; i < kTasks; ++i) group.run<count>();
                           group.wait();
                         }),
             "tasks/s");
  std::vector<mobula::Ref<int>> refs;
  report_own("noop_typed_result_per_s",
             bench::rate(5, kTasks,
                         [&] {
                           refs.clear();
                           for (int i = 0; i < kTasks; ++i) refs.push_back(rt.remote<one>());
                           rt.get(refs);
                         }),
             "tasks/s");
  refs.clear();
  report_own("round_trip_hot_us", bench::latency(50'000, [&] { rt.get(rt.remote<one>()); }), "us");
  std::vector<double> parked;
  for (int i = 0; i < 300; ++i) {
    std::this_thread::sleep_for(4ms);
    const auto start = std::chrono::steady_clock::now();
    rt.get(rt.remote<one>());
    parked.push_back(bench::seconds_since(start) * 1e6);
  }
  report_own("round_trip_parked_us", bench::median(parked), "us");
  auto counter = rt.actor<Counter>();
  report_own("actor_messages_per_s",
             bench::rate(5, kTasks,
                         [&] {
                           for (int i = 0; i < kTasks; ++i) counter.tell<&Counter::add>(1);
                           rt.get(counter.call<&Counter::get>());
                         }),
             "messages/s");
  auto a = rt.actor<Player>();
  auto b = rt.actor<Player>();
  std::atomic<bool> done{false};
  rt.get(a.call<&Player::meet>(b, mobula::Local<std::atomic<bool>*>{&done}));
  rt.get(b.call<&Player::meet>(a, mobula::Local<std::atomic<bool>*>{&done}));
  constexpr int kRounds = 500'000;
  report_own("actor_round_trips_per_s",
             bench::rate(5, kRounds,
                         [&] {
                           done = false;
                           a.tell<&Player::hit>(2 * kRounds - 1);
                           done.wait(false);
                         }),
             "round trips/s");
  rt.get(a.call<&Player::part>());
  rt.get(b.call<&Player::part>());
  std::vector<double> waits;
  for (int run = 0; run < 10; ++run) {
    std::vector<mobula::Ref<int>> pending;
    for (int i = 0; i < 1000; ++i) pending.push_back(rt.remote<one>());
    const auto start = std::chrono::steady_clock::now();
    while (!pending.empty()) pending = rt.wait(std::move(pending), {.num_ready = 1}).pending;
    waits.push_back(bench::seconds_since(start) * 1e3);
  }
  report_own("wait_1000_ms", bench::median(waits), "ms");
}

void measure_processes() {
  mobula::Runtime rt(mobula::RuntimeOptions{.isolation = mobula::Isolation::process, .num_cpus = 2});
  report_own("process_round_trip_us", bench::latency(20'000, [&] { rt.get(rt.remote<one>()); }), "us");
  constexpr int kTasks = 100'000;
  std::vector<mobula::Ref<int>> refs;
  report_own("process_tasks_per_s",
             bench::rate(5, kTasks,
                         [&] {
                           refs.clear();
                           for (int i = 0; i < kTasks; ++i) refs.push_back(rt.remote<one>());
                           rt.get(refs);
                         }),
             "tasks/s");
  refs.clear();
  std::vector<char> bytes(100'000'000, 1);
  mobula::Ref<std::vector<char>> ref;
  std::vector<double> puts;
  for (int run = 0; run < 6; ++run) {
    ref = {};
    // The value itself moves; what is measured is its way into memory that every process sees.
    std::vector<char> mine = bytes;
    const auto start = std::chrono::steady_clock::now();
    ref = rt.put(std::move(mine));
    if (run > 0) puts.push_back(bench::seconds_since(start) * 1e3);
  }
  report_own("put_100mb_ms", bench::median(puts), "ms");
  report_own("view_100mb_other_process_us", bench::latency(1000, [&] { rt.get(rt.remote<size_of>(ref)); }), "us");
}

void measure_queue() {
  mobula::Runtime rt(mobula::RuntimeOptions{.num_cpus = 1});
  held = true;
  auto holder = rt.remote<hold>();
  std::this_thread::sleep_for(10ms);
  constexpr int kTasks = 10'000'000;
  mobula::TaskGroup group(rt);
  const double before = memory_of(getpid());
  for (int i = 0; i < kTasks; ++i) group.run<count>();
  report_own("bytes_per_queued_task", (memory_of(getpid()) - before) / kTasks, "bytes");
  held = false;
  group.wait();
}

}  // namespace

void bench::report(const Result& result) {
  if (as_json) {
    fmt::print("{}\n", mobula::to_line(mobula::Json{{"bench", "core"},
                                                    {"metric", result.metric},
                                                    {"value", result.value},
                                                    {"unit", result.unit},
                                                    {"peer", result.peer}}));
  } else {
    fmt::print("{:<30} {:>14.4g} {:<14} {}\n", result.metric, result.value, result.unit, result.peer);
  }
  std::fflush(stdout);
}

int main(int argc, char** argv) {
  mobula::serve_if_worker();
  std::string only;
  for (int i = 1; i < argc; ++i) {
    as_json = as_json || std::strcmp(argv[i], "--json") == 0;
    if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
  }
  const auto measure = [&](const char* part, void (*work)()) {
    if (only.empty() || only == part) work();
  };
  measure("start", measure_start);
  measure("start", measure_idle);
  measure("threads", measure_threads);
  measure("processes", measure_processes);
  measure("peers", bench::measure_peers);
  measure("queue", measure_queue);
  return 0;
}
