/// Runs the engine's own scheduler on imagined nodes, workers and messages, in virtual time, under a seed: the same seed
/// gives the same run, event by event. Checks, while it goes and at the end, what the engine promises:
///
///   - every call ends exactly once, well or with a reason that fits what happened to it;
///   - a call is begun once more than its retries at most, and fails for a worker's death only when they are used up;
///   - calls begin in the order they were submitted; an actor's calls run in order, after its constructor, one at a time;
///   - resources in use never exceed what there is, and all come back;
///   - when nothing happens any more nothing waits: no call, no slot, no resource, no worker too few.
///
/// What it does not know: time that decisions take, memory, threads and their locks (ThreadSanitizer watches those).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mobula/core/local/call_scheduler.hpp"
#include "mobula/core/sim/failure_schedule.hpp"

namespace mobula::sim {

/// A bug to be planted in the part of the engine that is not the scheduler, to see that the checks find it.
enum class Mistake {
  none,
  keeps_resources_of_failed_calls,
  gives_resources_back_twice,
  forgets_what_a_dead_worker_ran,
  wakes_nobody_after_a_death,
};

struct SimulationOptions {
  std::uint64_t seed = 1;
  bool trace = false;
  FailureSchedule failures;
  Mistake mistake = Mistake::none;
  /// Makes the scheduler; tests give a wrong one.
  std::function<std::unique_ptr<CallScheduler>()> make_scheduler = [] { return std::make_unique<CallScheduler>(); };
};

struct SimulationResult {
  std::vector<std::string> violations;  ///< empty: all promises were kept
  std::vector<std::string> trace;       ///< what happened, with `trace`
  std::int64_t num_events = 0;
  int num_succeeded = 0;
  int num_failed = 0;
  int num_deaths = 0;
  int num_retries = 0;
  int num_restarts = 0;
};

/// Simulates one run to its end.
SimulationResult simulate_calls(const SimulationOptions& options);

}  // namespace mobula::sim
