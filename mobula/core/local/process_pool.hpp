/// Worker processes of this program that run tasks and actors in isolation.
#pragma once

#include <sys/types.h>

#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "mobula/core/actor_core.hpp"
#include "mobula/core/engine.hpp"

namespace mobula {

class Recorder;

/// Tasks go to the workers through shared memory: encoded arguments one way, encoded results the other; whoever waits is
/// woken through a futex. Large values lie in shared memory once, and every process sees them there.
class ProcessPool {
 public:
  /// `finish` is told of each task's end: its value is in place (null), or the error.
  /// `engine` runs what workers ask for.
  ProcessPool(Engine* engine, const RuntimeOptions& options, std::function<void(Task*, std::exception_ptr)> finish);
  ProcessPool(const ProcessPool&) = delete;
  ProcessPool& operator=(const ProcessPool&) = delete;
  ~ProcessPool();

  /// Runs a task whose arguments are ready; `ended` is called after its end, `lend` when it begins and ends to wait for
  /// others. Takes over one reference.
  void submit(Task* task, std::function<void()> ended = {}, std::function<void(bool waits)> lend = {});
  /// Makes an actor with a process of its own. With `gone`, which is called when the actor is no more, the process is only
  /// started by start_actor(); calls wait until then.
  ActorCore* create_actor(Engine* engine, ActorOptions options, std::function<void()> gone = nullptr);
  void start_actor(ActorCore* actor);
  void call(ActorCore* actor, Task* call);
  /// Ends an actor; its calls fail with `error` (null: that it was killed).
  void kill(ActorCore* actor, std::exception_ptr error = nullptr);
  /// Tells a running task to stop; forced: kills its worker. Returns false where no worker runs it.
  bool cancel(Task* task, Cancel how);
  /// Encodes a value into shared memory; null where it is so small that it travels with the calls.
  std::shared_ptr<const StoredBytes> store(const void* value, EncodeFunction encode);
  /// Takes results that have come. Returns whether there were any. Any thread.
  bool poll();
  /// Between these the calling thread calls poll() all the time, and need not be woken.
  void begin_polling();
  void end_polling();
  std::vector<pid_t> pids() const;
  void fill_state(EngineState& state) const;
  /// Notes the calls that end from now on; null: no longer. The recorder must outlive the pool.
  void record(Recorder* recorder);
  /// Stops: what has not begun is cancelled, what runs is waited for.
  void stop();

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace mobula
