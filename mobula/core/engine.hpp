/// What runs tasks, behind the public interface. The runtime hands over type-erased tasks and objects; an engine encodes
/// them only where they leave the process.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mobula/core/options.hpp"
#include "mobula/core/placement.hpp"
#include "mobula/core/resources.hpp"
#include "mobula/core/task.hpp"

namespace mobula {

struct EngineState;

/// A machine that tasks run on.
struct NodeInfo {
  std::string id;    ///< unique in the cluster
  std::string host;  ///< its name, or address
  bool alive = true;
  Labels labels;
  ResourceSet total;
  ResourceSet available;
};

/// What an engine is told at its start. `--engine`, `--isolation`, `--num-cpus`, `--memory`, `--spill-dir`,
/// `--spill-quota`, `--timeline`, `--metrics-port`, or the environment variables MOBULA_ENGINE, MOBULA_ISOLATION,
/// MOBULA_NUM_CPUS, MOBULA_MEMORY, MOBULA_SPILL_DIR, MOBULA_SPILL_QUOTA, MOBULA_TIMELINE, MOBULA_METRICS_PORT.
struct RuntimeOptions {
  std::string engine = "local";             ///< "local", or a cluster's address
  Isolation isolation = Isolation::thread;  ///< for tasks and actors that don't say
  int num_cpus = 0;                         ///< tasks that run at once; 0: one for each processor
  double num_gpus = 0;
  std::map<std::string, double> resources;  ///< custom resources, by name
  Labels labels;                            ///< of this node, beside its host's name ("host")
  std::uint64_t memory = 0;                 ///< bytes of shared memory for objects; 0: half of memory_limit()
  std::filesystem::path spill_dir;          ///< folder for objects that the memory has no room for; empty: none spill
  std::uint64_t spill_quota = 0;            ///< bytes of disk they may take; 0: half of what is free there at the start
  std::filesystem::path timeline;           ///< file for a record of every call, written at the end; empty: none
  int metrics_port = 0;                     ///< serves http://127.0.0.1:PORT/metrics for Prometheus; 0: not
  bool inspectable = true;                  ///< lets `mobula top` of the same user look into this program

  /// Throws Error(invalid_argument) that names the member.
  void validate() const;
};

/// Encodes the value at `value`, whose type it knows.
using EncodeFunction = void (*)(const void* value, WireWriter& out);

/// What waiting does between its looks at an object.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  /// Runs a task once its dependencies are ready. Takes over one reference. Throws ResourceError for what no node has.
  virtual void submit(Task* task) = 0;
  /// Makes an actor whose first call constructs its object. Returns it with one reference, its handle's.
  /// Throws ResourceError for what no node has.
  virtual ActorCore* create_actor(ActorOptions options) = 0;
  /// Makes a call on an actor after those made before. Takes over one reference to `call`.
  virtual void call(ActorCore* actor, Task* call) = 0;
  /// Ends an actor: what waits in its queue, and what is sent to it later, fails.
  virtual void kill(ActorCore* actor) = 0;
  /// Returns whether the task was stopped before it began, or told to stop.
  virtual bool cancel(Task* task, Cancel how) = 0;
  /// Encodes a value to where other processes see it; null where it is so small that it travels with the calls.
  /// Throws OutOfMemoryError where there is no room for it.
  virtual std::shared_ptr<const StoredBytes> store(const void* value, EncodeFunction encode) = 0;

  /// Of objects that don't become ready by themselves (Object::polled): waits until `wanted` of them are, or the time is
  /// up (negative: never).
  virtual void wait(Object* const* /*objects*/, std::size_t /*count*/, std::size_t /*wanted*/,
                    std::chrono::nanoseconds /*timeout*/) {}
  /// Makes such an object ready once it is, because somebody is to be told.
  virtual void watch(Object* /*object*/) {}
  /// Returns the actor of that name which another process of the engine made, with one reference, or null.
  virtual ActorCore* find_actor(const std::string& /*name*/) { return nullptr; }

  /// Called by a thread that is about to wait for `object`. Throws where that could never end.
  virtual void before_wait(Object* object) = 0;
  /// The same for several objects.
  virtual void before_wait_any(Object* const* /*objects*/, std::size_t /*count*/) {}
  /// Called by a thread that is about to wait for `object` however long it takes. May run the very task it waits for.
  virtual void run_awaited(Object* /*object*/) {}
  /// Called when the thread is about to sleep, and when it goes on: its slot serves other tasks meanwhile.
  virtual void lend_slot() = 0;
  virtual void take_slot_back() = 0;
  /// Looks for results from elsewhere. Returns whether there were any.
  virtual bool poll() = 0;
  /// Between these the calling thread calls poll() all the time. end_polling() only where begin_polling() returned true.
  virtual bool begin_polling() = 0;
  virtual void end_polling() = 0;

  /// Tells whether this is a worker process's engine, which asks the program's for everything.
  virtual bool remote() const noexcept { return false; }
  /// In a worker process: returns the program's actor of that name, with one reference. Throws Error(not_found), and
  /// Error(invalid_argument) where it is of another type.
  virtual ActorCore* find_program_actor(const std::string& /*name*/, const std::string& /*type*/) { return nullptr; }

  virtual ResourceSet total_resources() const = 0;
  virtual ResourceSet available_resources() const = 0;
  /// Returns the machines; an engine that does not say otherwise has one.
  virtual std::vector<NodeInfo> nodes() const;
  /// Begins to set a placement group's bundles aside. Throws ResourceError where that can never succeed, and
  /// Error(unsupported) on an engine without placement groups.
  virtual std::shared_ptr<Reservation> reserve(const std::vector<Bundle>& bundles, const PlacementOptions& options);
  virtual std::string name() const = 0;
  virtual std::vector<pid_t> worker_pids() const = 0;
  /// Fills in what the engine knows of its tasks, workers and objects (state.hpp).
  virtual void fill_state(EngineState& /*state*/) const {}
  /// Begins or ends a record of the calls that run; `keep_events`: of each of them, for timeline().
  virtual void record(bool /*on*/, bool /*keep_events*/) {}
  /// Returns the calls recorded so far in Chrome's trace-event format; empty where the engine records none.
  virtual std::string timeline() const { return {}; }
  /// Stops: queued tasks fail with CancelledError, running ones are waited for.
  virtual void shutdown() = 0;
};

/// Makes the engine that `options.engine` names. Throws Error(invalid_argument) for an unknown address.
std::unique_ptr<Engine> make_engine(const RuntimeOptions& options);

/// Waits until `object` is ready, or `timeout` (negative: none) has passed. Returns whether it is ready.
bool wait_ready(Object& object, std::chrono::nanoseconds timeout);
/// Waits until `count` of the objects are ready, or the timeout has passed.
void wait_ready(const std::vector<Object*>& objects, std::size_t count, std::chrono::nanoseconds timeout);

/// The task that this thread runs, or null.
Task* current_task() noexcept;
/// Sets it, and returns the one before.
Task* exchange_current_task(Task* task) noexcept;

}  // namespace mobula
