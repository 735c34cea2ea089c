/// What a running program is doing: its tasks, actors, objects, workers and resources, as one snapshot.
///
/// rt.state() costs nothing until it is called. What only a record of every call can tell (functions, what runs in threads,
/// times) is there while one is kept: from the start with `--timeline` or `--metrics-port`, after rt.record(true), or while
/// `mobula top` looks; it covers what began since.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/core/engine.hpp"

namespace mobula {

/// Calls of one function since recording began.
struct FunctionState {
  std::string name;
  std::uint64_t num_ended = 0;   ///< with success or not
  std::uint64_t num_failed = 0;  ///< those that threw, or whose worker died
  double seconds = 0;            ///< time spent in them, added up
};

/// A call that runs now.
struct RunningTask {
  std::string name;
  std::string worker;
  double seconds = 0;  ///< since it began
};

struct ActorState {
  std::string name;   ///< its own, or its class
  std::string title;  ///< its class
  std::string where;  ///< "thread" or "process"
  bool alive = true;
  int num_groups = 0;  ///< concurrency groups beside the default
};

struct WorkerState {
  std::string name;
  pid_t pid = 0;
};

/// Values that processes share.
struct ObjectState {
  std::uint64_t bytes_in_memory = 0;
  std::uint64_t memory_budget = 0;
  std::uint64_t bytes_on_disk = 0;
  std::uint64_t num_spills = 0;    ///< times an object was written to disk
  std::uint64_t num_restores = 0;  ///< times one was read back
};

/// What an engine knows of itself.
struct EngineState {
  std::vector<FunctionState> functions;
  std::vector<RunningTask> running;
  std::vector<WorkerState> workers;
  ObjectState objects;
  std::uint64_t num_queued = 0;  ///< tasks that wait for resources or a worker process
  int num_threads = 0;           ///< that run tasks
  bool recording = false;        ///< functions and running are kept
};

struct RuntimeState {
  std::string program;
  pid_t pid = 0;
  std::string engine;
  double uptime_seconds = 0;
  EngineState tasks;
  std::vector<ActorState> actors;
  std::vector<NodeInfo> nodes;
};

/// Returns the snapshot as JSON, in the same spelling.
Json to_json(const RuntimeState& state);
/// Returns it in Prometheus' text format, version 0.0.4.
std::string to_prometheus(const RuntimeState& state);

}  // namespace mobula
