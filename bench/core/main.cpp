// What a task, a message and an object cost. One line a metric; the names are those that ./dev bench core promises.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
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

/// Lets the peers that answer the same question take turns with us.
void compare(const bench::Metric& metric, int rounds, std::function<double()> own) {
  std::vector<bench::Contestant> all{{"mobula", std::move(own), {}}};
  for (bench::Contestant& peer : bench::peers(metric.name)) all.push_back(std::move(peer));
  bench::compare(metric, rounds, all);
}

/// A figure counts only with the right answer.
void require(bool holds, const char* what) {
  if (holds) return;
  fmt::print(stderr, "error: wrong answer: not {}\n", what);
  std::exit(1);
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
  compare({"start_to_first_result_us", "us"}, 20, [] {
    return bench::latency(1, [] {
      mobula::Runtime rt(mobula::RuntimeOptions{.num_cpus = 2});
      rt.get(rt.remote<one>());
    });
  });
}

void measure_idle() {
  mobula::Runtime rt(mobula::RuntimeOptions{.isolation = mobula::Isolation::process, .num_cpus = 2});
  std::vector<mobula::Ref<int>> refs;
  for (int i = 0; i < 100; ++i) refs.push_back(rt.remote<one>());
  rt.get(refs);
  compare({"idle_memory_mb", "MB"}, 1, [&] {
    double bytes = memory_of(getpid());
    for (pid_t pid : rt.engine()->worker_pids()) bytes += memory_of(pid);
    return bytes / 1e6;
  });
}

void measure_threads() {
  mobula::Runtime rt(mobula::RuntimeOptions{.num_cpus = 2});
  constexpr int kTasks = 1'000'000;
  compare({"noop_fire_join_per_s", "tasks/s", true}, 7, [&] {
    mobula::TaskGroup group(rt);
    const long before = counted;
    const double rate = bench::rate(kTasks, [&] {
      for (int i = 0; i < kTasks; ++i) group.run<count>();
      group.wait();
    });
    require(counted - before == kTasks, "every task ran once");
    return rate;
  });
  {
    std::vector<mobula::Ref<int>> refs;
    compare({"noop_typed_result_per_s", "tasks/s", true}, 5, [&] {
      return bench::rate(kTasks, [&] {
        refs.clear();
        for (int i = 0; i < kTasks; ++i) refs.push_back(rt.remote<one>());
        rt.get(refs);
      });
    });
  }
  const auto round_trip = [&] { rt.get(rt.remote<one>()); };
  compare({"round_trip_hot_us", "us"}, 7, [&] { return bench::latency(5000, round_trip); });
  compare({"round_trip_parked_us", "us"}, 5,
          [&] { return bench::latency(60, round_trip, [] { std::this_thread::sleep_for(4ms); }); });
  auto counter = rt.actor<Counter>();
  compare({"actor_messages_per_s", "messages/s", true}, 5, [&] {
    return bench::rate(kTasks, [&] {
      for (int i = 0; i < kTasks; ++i) counter.tell<&Counter::add>(1);
      rt.get(counter.call<&Counter::get>());
    });
  });
  auto a = rt.actor<Player>();
  auto b = rt.actor<Player>();
  std::atomic<bool> done{false};
  rt.get(a.call<&Player::meet>(b, mobula::Local<std::atomic<bool>*>{&done}));
  rt.get(b.call<&Player::meet>(a, mobula::Local<std::atomic<bool>*>{&done}));
  constexpr int kRounds = 500'000;
  compare({"actor_round_trips_per_s", "round trips/s", true}, 5, [&] {
    return bench::rate(kRounds, [&] {
      done = false;
      a.tell<&Player::hit>(2 * kRounds - 1);
      done.wait(false);
    });
  });
  rt.get(a.call<&Player::part>());
  rt.get(b.call<&Player::part>());
  compare({"wait_1000_ms", "ms"}, 10, [&] {
    std::vector<mobula::Ref<int>> pending;
    for (int i = 0; i < 1000; ++i) pending.push_back(rt.remote<one>());
    const auto start = std::chrono::steady_clock::now();
    while (!pending.empty()) pending = rt.wait(std::move(pending), {.num_ready = 1}).pending;
    return bench::seconds_since(start) * 1e3;
  });
}

void measure_processes() {
  mobula::Runtime rt(mobula::RuntimeOptions{.isolation = mobula::Isolation::process, .num_cpus = 2});
  compare({"process_round_trip_us", "us"}, 5, [&] { return bench::latency(5000, [&] { rt.get(rt.remote<one>()); }); });
  constexpr int kTasks = 100'000;
  {
    std::vector<mobula::Ref<int>> refs;
    compare({"process_tasks_per_s", "tasks/s", true}, 5, [&] {
      return bench::rate(kTasks, [&] {
        refs.clear();
        for (int i = 0; i < kTasks; ++i) refs.push_back(rt.remote<one>());
        rt.get(refs);
      });
    });
  }
  const std::vector<char> bytes(100'000'000, 1);
  mobula::Ref<std::vector<char>> ref;
  compare({"put_100mb_ms", "ms"}, 7, [&] {
    ref = {};
    // The value itself moves; what is measured is its way into memory that every process sees.
    std::vector<char> mine = bytes;
    return bench::latency(1, [&] { ref = rt.put(std::move(mine)); }) / 1e3;
  });
  compare({"view_100mb_other_process_us", "us"}, 5,
          [&] { return bench::latency(500, [&] { rt.get(rt.remote<size_of>(ref)); }); });
}

void measure_queue() {
  mobula::Runtime rt(mobula::RuntimeOptions{.num_cpus = 1});
  held = true;
  auto holder = rt.remote<hold>();
  std::this_thread::sleep_for(10ms);
  constexpr int kTasks = 10'000'000;
  mobula::TaskGroup group(rt);
  const double before = memory_of(getpid());
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kTasks; ++i) group.run<count>();
  double seconds = bench::seconds_since(start);
  const double bytes = (memory_of(getpid()) - before) / kTasks;
  const auto released = std::chrono::steady_clock::now();
  held = false;
  group.wait();
  seconds += bench::seconds_since(released);
  bench::report({"bytes_per_queued_task", "bytes"}, "mobula", bytes, bytes);
  bench::report({"queue_10m_tasks_per_s", "tasks/s"}, "mobula", kTasks / seconds, kTasks / seconds);
}

/// Ray's own figures come last: its idle processes would disturb ours.
void measure_ray() {
  std::fflush(stdout);
  FILE* answers = popen("'" MOBULA_BENCH_PYTHON "' '" MOBULA_BENCH_RAY "'", "r");
  if (answers == nullptr) return;
  std::string line;
  for (int next = std::fgetc(answers); next != EOF; next = std::fgetc(answers)) {
    if (next != '\n') {
      line += static_cast<char>(next);
      continue;
    }
    const auto row = mobula::parse_json(line, "Ray's figures");
    bench::report({row.at("metric"), row.at("unit")}, row.at("peer"), row.at("value"), row.at("best"));
    line.clear();
  }
  if (pclose(answers) != 0) std::fputs("Ray could not be measured; ./dev setup --all installs it\n", stderr);
}

}  // namespace

void bench::report(const Metric& metric, const std::string& peer, double median, double best) {
  if (as_json) {
    fmt::print("{}\n", mobula::to_line(mobula::Json{{"bench", "core"},
                                                    {"metric", metric.name},
                                                    {"value", median},
                                                    {"best", best},
                                                    {"unit", metric.unit},
                                                    {"peer", peer}}));
  } else {
    fmt::print("{:<28} {:<12} {:>12.4g} {:>12.4g} {}\n", metric.name, peer, median, best, metric.unit);
  }
  std::fflush(stdout);
}

void bench::report_absent(const Metric& metric, const Contestant& contestant) {
  if (as_json) {
    fmt::print("{}\n", mobula::to_line(mobula::Json{{"bench", "core"},
                                                    {"metric", metric.name},
                                                    {"value", nullptr},
                                                    {"unit", metric.unit},
                                                    {"peer", contestant.name},
                                                    {"absent", contestant.absent}}));
  } else {
    fmt::print("{:<28} {:<12} not built in: needs {}\n", metric.name, contestant.name, contestant.absent);
  }
}

int main(int argc, char** argv) {
  mobula::serve_if_worker();
  const std::vector<std::string> parts{"start", "threads", "processes", "queue", "ray", "ray-engine"};
  std::string only;
  CLI::App app("What a task, a message and an object cost, beside the peers that are installed");
  app.add_flag("--json", as_json, "One JSON object a line");
  app.add_option("--only", only, "Measure one part alone")->check(CLI::IsMember(parts));
  CLI11_PARSE(app, argc, argv);
  if (!as_json) fmt::print("{:<28} {:<12} {:>12} {:>12}\n", "metric", "who", "median", "best");
  const auto measure = [&](const char* part, void (*work)()) {
    if (only.empty() || only == part) work();
  };
  measure("start", measure_start);
  measure("start", measure_idle);
  measure("threads", measure_threads);
  measure("processes", measure_processes);
  measure("queue", measure_queue);
  measure("ray", measure_ray);
  measure("ray-engine", bench::measure_ray_engine);
  return 0;
}
