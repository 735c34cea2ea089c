/// How a task or an actor is to run. Members have defaults: name only what differs.
#pragma once

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

struct TaskOptions {
  double cpus = 1;  ///< processors it keeps busy; fractions share one
  double gpus = 0;
  std::map<std::string, double> resources;  ///< custom resources the runtime has, by name
  Isolation isolation = Isolation::inherit;
  int retries = 3;                ///< how often it runs again when its worker process dies
  bool retry_exceptions = false;  ///< also runs again when its function throws (arguments are copied)
  std::string name;               ///< shown instead of the function's name
  std::vector<std::pair<std::string, std::string>> environment;  ///< set while it runs; process isolation only
};

struct ActorOptions {
  double cpus = 0;  ///< processors set aside for as long as the actor lives
  double gpus = 0;
  std::map<std::string, double> resources;
  Isolation isolation = Isolation::inherit;
  std::string name;          ///< for find_actor(); unique in the runtime
  int max_restarts = 0;      ///< how often it is made anew when its worker process dies; -1: always
  int max_task_retries = 0;  ///< how often a call that was running at its death is made again
};

}  // namespace mobula
