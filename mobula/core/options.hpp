/// How a task or an actor is to run. Members have defaults: name only what differs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace mobula {

/// Where user code runs.
enum class Isolation {
  inherit,  ///< as the runtime was told (--isolation), threads by default
  thread,   ///< a thread of this process: sub-microsecond, values are never copied or encoded
  process,  ///< a worker process: survives abort, segmentation faults and leaks of the user's code
};

/// How a running task is stopped.
enum class Cancel {
  cooperative,  ///< a queued task never starts; a running one sees cancelled() and should return
  forced,       ///< a running one's worker process is killed; threads can't be, and refuse
};

/// Names, or environment variables, with their values.
using Variables = std::vector<std::pair<std::string, std::string>>;
/// Labels of a node: those it has, or those it must have.
using Labels = std::map<std::string, std::string>;

/// One bundle of a placement group; PlacementGroup::bundle() makes it.
struct BundleRef {
  std::uint64_t group = 0;  ///< 0: none
  int index = -1;           ///< -1: whichever of the group's bundles has room
};

struct TaskOptions {
  double cpus = 1;                          ///< processors it keeps busy; fractions share one
  double gpus = 0;                          ///< fractions share one
  std::uint64_t memory = 0;                 ///< bytes it needs at its most: set aside where it runs, not enforced
  std::map<std::string, double> resources;  ///< custom resources the runtime has, by name
  Labels labels;                            ///< of the node it must run on
  BundleRef placement;                      ///< runs on what this bundle of a placement group has set aside
  Isolation isolation = Isolation::inherit;
  int retries = 3;                       ///< how often it runs again when its worker process dies
  bool retry_exceptions = false;         ///< also runs again when its function throws (arguments are copied)
  std::vector<std::string> retry_on;     ///< the same for these exceptions alone: exception_types<IoError, ...>()
  std::chrono::nanoseconds timeout{-1};  ///< from its submission to its end, retries included; negative: none
  std::string name;                      ///< shown instead of the function's name
  Variables environment;                 ///< set while it runs; process isolation only
  std::size_t buffer = 16;               ///< of a generator: items made ahead of who takes them
};

/// What an actor sets aside, it keeps for as long as it lives.
struct ActorOptions {
  double cpus = 0;
  double gpus = 0;
  std::uint64_t memory = 0;
  std::map<std::string, double> resources;
  Labels labels;
  BundleRef placement;
  Isolation isolation = Isolation::inherit;
  std::string name;                   ///< for find_actor(); unique in the runtime
  bool detached = false;              ///< outlives the program where the engine does (a cluster); needs a name
  int max_restarts = 0;               ///< how often it is made anew when its worker process dies; -1: always
  int max_task_retries = 0;           ///< how often a call that was running at its death is made again
  int concurrency = 1;                ///< calls that run at once; 1: one after the other, in the order they were made
  std::map<std::string, int> groups;  ///< calls made by actor.in(NAME) run in a queue of their own, so many at once
  Variables environment;              ///< of its process; process isolation only
};

}  // namespace mobula
