// simulate_scale [--tasks N] [--json | --svg]: the embedded scheduler's decisions for up to 1,000 simulated workers, in
// virtual time: what a decision costs on this machine's processor, what it needs in memory, how good the schedule is.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/base/random.hpp"
#include "mobula/core/local/call_scheduler.hpp"
#include "mobula/core/local/resource_scheduler.hpp"

namespace mobula::sim {
namespace {

using Clock = std::chrono::steady_clock;
/// Nanoseconds of virtual time.
using Nanoseconds = std::int64_t;

constexpr std::uint32_t kSlots = 1024;         ///< of the embedded engine's channel for tasks
constexpr Nanoseconds kMessage = 500;          ///< for a worker to see a call, and the driver its end, in shared memory
constexpr Nanoseconds kMeanTask = 10'000'000;  ///< 10 ms, exponentially distributed
constexpr int kWorkersPerNode = 10;

struct Figures {
  std::string kind;
  int workers = 0;
  int tasks = 0;
  double decision_ns = 0;     ///< measured processor time of the scheduler, a task
  double bytes_per_task = 0;  ///< allocated, with all tasks queued
  double makespan_s = 0;      ///< virtual
  double over_ideal = 0;      ///< makespan over total work / workers
  double fairness = 0;        ///< Jain's index over the work done by each worker
  std::size_t longest_queue = 0;
};

double allocated_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

/// Runs tasks of one processor each through the scheduler of worker processes. `busy_driver`: the decisions' own time
/// passes in virtual time too, so that the driver becomes the bottleneck where it would be.
Figures run_tasks(int workers, int tasks, Nanoseconds mean, bool busy_driver) {
  Figures figures{
      .kind = fmt::format("tasks of {:g} ms", static_cast<double>(mean) / 1e6), .workers = workers, .tasks = tasks};
  Random random(7);
  std::vector<std::uint32_t> durations(static_cast<std::size_t>(tasks));
  double work = 0;
  for (auto& duration : durations) {
    duration = static_cast<std::uint32_t>(std::min(4e9, -std::log(1 - random.uniform()) * static_cast<double>(mean)));
    work += duration;
  }
  CallScheduler scheduler;
  Decisions todo;
  const LaneId lane =
      scheduler.open_lane({.num_slots = kSlots, .num_workers = static_cast<std::uint32_t>(workers)}, todo);
  todo.clear();
  struct End {
    Nanoseconds when;
    int worker;
    std::uint32_t slot;
    std::uint32_t turn;
    bool operator<(const End& other) const { return when > other.when; }
  };
  struct Ready {
    CallId call;
    std::uint32_t slot;
    std::uint32_t turn;
  };
  std::priority_queue<End> running;
  std::deque<Ready> channel;
  std::vector<int> idle;
  for (int worker = workers; worker > 0; --worker) idle.push_back(worker - 1);
  std::vector<double> done(static_cast<std::size_t>(workers));
  std::vector<int> task_of;
  Nanoseconds now = 0;
  Clock::duration deciding{0};
  const auto carry_out = [&] {
    for (const Decision& decision : todo) channel.push_back({decision.call, decision.slot, decision.turn});
    todo.clear();
    while (!channel.empty() && !idle.empty()) {
      const Ready ready = channel.front();
      channel.pop_front();
      const int worker = idle.back();
      idle.pop_back();
      const int task = task_of[ready.call];
      const auto duration = durations[static_cast<std::size_t>(task)];
      done[static_cast<std::size_t>(worker)] += duration;
      running.push({now + 2 * kMessage + duration, worker, ready.slot, ready.turn});
    }
  };
  const double before = allocated_bytes();
  // All at once, as a loop over remote() does. The decisions are carried out as they come.
  for (int task = 0; task < tasks; ++task) {
    const auto start = Clock::now();
    const CallId call = scheduler.submit(lane, {.retries = 3}, todo);
    deciding += Clock::now() - start;
    if (call >= task_of.size()) task_of.resize(call + 1);
    task_of[call] = task;
    if (!todo.empty()) carry_out();
  }
  figures.longest_queue = scheduler.num_waiting(lane);
  figures.bytes_per_task = (allocated_bytes() - before) / tasks;
  while (!running.empty()) {
    const End end = running.top();
    running.pop();
    now = std::max(now, end.when);
    const auto start = Clock::now();
    scheduler.ended(lane, end.slot, end.turn, false);
    scheduler.refill(lane, todo);
    const auto took = Clock::now() - start;
    deciding += took;
    if (busy_driver) now += std::chrono::duration_cast<std::chrono::nanoseconds>(took).count();
    idle.push_back(end.worker);
    carry_out();
  }
  double sum = 0, squares = 0;
  for (const double share : done) {
    sum += share;
    squares += share * share;
  }
  figures.fairness = sum * sum / (squares * workers);
  figures.decision_ns = std::chrono::duration<double, std::nano>(deciding).count() / tasks;
  figures.makespan_s = static_cast<double>(now) / 1e9;
  figures.over_ideal = static_cast<double>(now) / (work / workers);
  return figures;
}

/// Runs tasks with needs of their own through the scheduler of resources: a machine as large as all nodes together.
Figures run_resources(int workers, int tasks) {
  Figures figures{.kind = "resources, 6 kinds of need", .workers = workers, .tasks = tasks};
  ResourceSet total;
  total.set("cpu", workers);
  total.set("gpu", workers / 10.0);
  total.set("memory", workers * 4.0);
  std::vector<ResourceSet> needs(6);
  needs[0].set("gpu", 1);
  needs[1].set("gpu", 0.25);
  needs[2].set("memory", 8);
  needs[3].set("memory", 1);
  needs[4].set("gpu", 0.5);
  needs[4].set("memory", 16);
  needs[5].set("gpu", workers / 20.0);
  struct End {
    Nanoseconds when;
    std::size_t need;
    bool operator<(const End& other) const { return when > other.when; }
  };
  Random random(7);
  std::priority_queue<End> running;
  Nanoseconds now = 0;
  std::vector<double> busy(2);
  std::size_t waiting = 0;
  ResourceScheduler scheduler(
      total, [](int) {}, [](int) {});
  Clock::duration deciding{0};
  const double before = allocated_bytes();
  for (int task = 0; task < tasks; ++task) {
    // One in a thousand is a big one.
    const std::size_t need = random.below(1000) == 0 ? 5 : static_cast<std::size_t>(random.below(5));
    const auto duration = static_cast<Nanoseconds>(-std::log(1 - random.uniform()) * static_cast<double>(kMeanTask));
    busy[0] += static_cast<double>(duration) * needs[need].get("gpu").value() / total.get("gpu").value();
    busy[1] += static_cast<double>(duration) * needs[need].get("memory").value() / total.get("memory").value();
    const auto start = Clock::now();
    ++waiting;
    scheduler.acquire(needs[need], [&running, &now, &waiting, need, duration] {
      --waiting;
      running.push({now + duration, need});
    });
    deciding += Clock::now() - start;
  }
  figures.longest_queue = waiting;
  figures.bytes_per_task = (allocated_bytes() - before) / tasks;
  while (!running.empty()) {
    const End end = running.top();
    running.pop();
    now = end.when;
    const auto start = Clock::now();
    scheduler.release(needs[end.need]);
    deciding += Clock::now() - start;
  }
  figures.decision_ns = std::chrono::duration<double, std::nano>(deciding).count() / tasks;
  figures.makespan_s = static_cast<double>(now) / 1e9;
  figures.over_ideal = static_cast<double>(now) / std::max(busy[0], busy[1]);
  return figures;
}

std::string svg(const std::vector<Figures>& all) {
  // Decision cost over the number of workers, both logarithmic.
  std::string marks;
  const auto x = [](double workers) { return 60 + 130 * std::log10(workers); };
  const auto y = [](double ns) { return 240 - 60 * std::log10(ns); };
  for (const double workers : {1, 10, 100, 1000}) {
    marks += fmt::format("<text x='{:.0f}' y='262' text-anchor='middle'>{:.0f}</text>\n", x(workers), workers);
  }
  for (const double ns : {1, 10, 100, 1000}) {
    marks += fmt::format(
        "<path d='M60 {0:.0f}H460' stroke='#ddd'/><text x='54' y='{1:.0f}' text-anchor='end'>{2:.0f} ns</text>\n",
        y(ns), y(ns) + 4, ns);
  }
  for (const Figures& figures : all) {
    const bool resources = figures.kind.starts_with("resources");
    marks += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='4' fill='{}'/>\n", x(figures.workers),
                         y(figures.decision_ns), resources ? "#c50" : "#06c");
  }
  return fmt::format(
      "<svg xmlns='http://www.w3.org/2000/svg' width='500' height='300' font-family='sans-serif' font-size='12'>\n"
      "<rect width='500' height='300' fill='white'/>\n{}"
      "<text x='260' y='284' text-anchor='middle'>simulated workers</text>\n"
      "<text x='60' y='24' fill='#06c'>calls</text><text x='110' y='24' fill='#c50'>resources</text>"
      "<text x='460' y='24' text-anchor='end'>processor time of decisions, a task</text>\n</svg>\n",
      marks);
}

}  // namespace
}  // namespace mobula::sim

int main(int argc, char** argv) {
  using namespace mobula::sim;
  int tasks = 1'000'000;
  bool json = false, plot = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    json = json || word == "--json";
    plot = plot || word == "--svg";
    if (word == "--tasks" && i + 1 < argc) tasks = std::max(1, std::atoi(argv[++i]));
  }
  std::vector<Figures> all;
  for (const int workers : {1, 10, 100, 1000}) all.push_back(run_tasks(workers, tasks, kMeanTask, true));
  all.push_back(run_tasks(1000, tasks, kMeanTask / 10, true));
  all.push_back(run_tasks(1000, tasks, kMeanTask / 100, true));
  for (const int workers : {10, 100, 1000}) all.push_back(run_resources(workers, tasks));
  if (plot) {
    fmt::print("{}", svg(all));
    return 0;
  }
  if (!json) {
    fmt::print(
        "| kind | workers (nodes of {}) | decisions, ns a task | makespan, s | over ideal | fairness | longest queue | "
        "bytes a queued task |\n|---|---|---|---|---|---|---|---|\n",
        kWorkersPerNode);
  }
  for (const Figures& f : all) {
    if (json) {
      fmt::print("{}\n", mobula::to_line(mobula::Json{{"bench", "scale"},
                                                      {"kind", f.kind},
                                                      {"workers", f.workers},
                                                      {"tasks", f.tasks},
                                                      {"decision_ns", f.decision_ns},
                                                      {"makespan_s", f.makespan_s},
                                                      {"over_ideal", f.over_ideal},
                                                      {"fairness", f.fairness},
                                                      {"longest_queue", f.longest_queue},
                                                      {"bytes_per_task", f.bytes_per_task}}));
    } else {
      fmt::print("| {} | {} ({}) | {:.0f} | {:.2f} | {:.4f} | {} | {} | {:.0f} |\n", f.kind, f.workers,
                 (f.workers + kWorkersPerNode - 1) / kWorkersPerNode, f.decision_ns, f.makespan_s, f.over_ideal,
                 f.fairness == 0 ? std::string("-") : fmt::format("{:.4f}", f.fairness), f.longest_queue,
                 f.bytes_per_task);
    }
  }
  return 0;
}
