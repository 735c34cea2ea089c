/// What a ProcessPool is made of: the scheduler that decides, and the channels, processes and threads that it decides for.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mobula/core/local/call_scheduler.hpp"
#include "mobula/core/local/handle_table.hpp"
#include "mobula/core/local/object_store.hpp"
#include "mobula/core/local/oom_watch.hpp"
#include "mobula/core/local/process_pool.hpp"
#include "mobula/core/local/slab.hpp"
#include "mobula/core/local/stderr_tail.hpp"
#include "mobula/core/local/task_channel.hpp"
#include "mobula/core/local/worker_process.hpp"
#include "mobula/core/local/worker_session.hpp"

namespace mobula {

class ProcessActor;

/// What a call of the scheduler's stands for.
struct ProcessCall {
  Task* task = nullptr;  ///< null: an actor's constructor, made again
  std::function<void()> ended;
  std::string arguments;
  std::vector<PinnedBytes> pins;                  ///< objects among the arguments
  std::vector<std::shared_ptr<const void>> kept;  ///< what handles in the arguments stand for
  std::function<void(bool waits)> lend;  ///< told when the call begins and ends to wait for others; may be null
  std::uint64_t id = 0;                  ///< by which workers know the call
  std::uint32_t function = 0;
};

/// The channel of a lane.
struct ProcessLane {
  TaskChannel* channel = nullptr;  ///< null: the lane is free
  std::uint64_t offset = 0;
  ProcessActor* actor = nullptr;
  std::string name;
};

/// A running worker process.
struct PoolWorker {
  LaneId lane = 0;
  WorkerProcess process;
  StderrTail standard_error;
  bool stderr_open = true;
  std::shared_ptr<WorkerSession> session;
  bool waits = false;           ///< its task waits for others
  std::uint64_t oom_kills = 0;  ///< by the system, before it was started
};

/// A call that has come to its end, to be told of outside the mutexes.
struct CallEnd {
  ProcessCall call;
  std::exception_ptr failure;
  ActorCore* actor = nullptr;  ///< to be released where there is no task any more
};

/// How a worker ended, for the errors of what it takes along.
struct WorkerDeath {
  WorkerExit exit;
  std::string last_stderr;
  std::string not_started;  ///< why it could not even be started
};

/// A result that the worker showed after it had sent frames that are not acted on yet, or with handles.
struct LateResult {
  CallEnd end;
  std::shared_ptr<WorkerSession> session;
  std::uint64_t num_frames = 0;         ///< to be acted on before
  std::vector<std::uint64_t> borrowed;  ///< handles that the worker keeps
  std::vector<std::uint64_t> ids;       ///< handles in the result
  std::shared_ptr<HeldHandles> inner;   ///< takes those
  bool failed = false;
  std::string bytes;
  std::shared_ptr<const StoredObject> stored;  ///< null: `bytes`
};

struct ProcessPool::State {
  Engine* engine = nullptr;
  RuntimeOptions options;
  std::shared_ptr<HandleTable> handles;
  std::function<ActorCore*(const std::string& name, const std::string& type)> find_actor;
  std::function<void(Task*, std::exception_ptr)> finish;
  std::shared_ptr<ObjectStore> store;
  SharedControl* control = nullptr;

  mutable std::mutex mutex;  ///< guards what follows, up to poll_mutex
  std::condition_variable drained;
  CallScheduler scheduler;
  Decisions todo;
  Slab<ProcessCall> calls;         ///< by CallId
  std::vector<ProcessLane> lanes;  ///< by LaneId
  std::map<WorkerId, PoolWorker> workers;
  std::unordered_map<const FunctionEntry*, std::uint32_t> functions;
  LaneId tasks = 0;
  std::uint32_t next_serial = 1;
  OomWatch oom;
  std::vector<LateResult> late_results;                       ///< the monitor completes them
  std::vector<std::pair<WorkerId, std::string>> not_started;  ///< and why; the scheduler is to be told

  std::mutex poll_mutex;  ///< taken before `mutex` by who takes results
  std::atomic<std::uint32_t> seen_completions{0};
  std::atomic<bool> ending{false};
  std::atomic<Recorder*> recorder{nullptr};
  Descriptor wake;
  std::thread dispatcher;
  std::thread monitor;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();

  CallScheduler::Time now() const {
    return std::chrono::duration_cast<CallScheduler::Time>(std::chrono::steady_clock::now() - started);
  }

  /// Encodes a task's arguments. Any thread, without a mutex. Throws what encoding throws.
  ProcessCall encode(Task* task);
  std::uint32_t function_index(const FunctionEntry& entry);
  LaneId open_lane(const LaneOptions& options, std::string name, ProcessActor* actor);
  /// Hands a call to the scheduler; under the mutex.
  void submit(LaneId lane, ProcessCall call, std::vector<CallEnd>& ends);
  /// Does what the scheduler decided; under the mutex. `death`: what it was told of.
  void carry_out(std::vector<CallEnd>& ends, const WorkerDeath* death = nullptr);
  /// Takes the ended calls of a lane; under both mutexes.
  void collect(LaneId lane, std::vector<CallEnd>& ends);
  void collect_slot(LaneId lane, std::uint32_t slot, std::vector<CallEnd>& ends);
  bool poll();
  /// Tells of ends, outside the mutexes: finishing a task may submit others.
  void end_all(std::vector<CallEnd>& ends);
  void wake_monitor() const;

 private:
  friend class ProcessPool;
  void make_channel(ProcessLane& lane, std::uint32_t num_slots);
  void place(const Decision& decision, std::vector<CallEnd>& ends);
  void withdraw(const Decision& decision);
  void clear_lane(ProcessLane& lane);
  void free_slot(TaskSlot& slot);
  void start_worker(const Decision& decision);
  void kill(WorkerId worker) const;
  std::exception_ptr failure(const Decision& decision, const WorkerDeath* death);
  /// Acts on a worker's frames up to a result, and puts that in place; the monitor, without a mutex.
  static void complete(LateResult& late);
  static void take_result(CallEnd& end, bool failed, const std::string& bytes,
                          std::shared_ptr<const StoredObject> stored);
  /// Takes over the session of a dead worker, to be closed outside the mutexes.
  std::shared_ptr<WorkerSession> worker_ended(WorkerId id, std::vector<CallEnd>& ends);
  /// A worker's task waits, or goes on: another works meanwhile. Without a mutex.
  void worker_waits(WorkerId id, bool waits);
  /// Returns the tasks that a worker is in, the innermost last, each with a reference. Without a mutex.
  std::vector<Task*> running_in(WorkerId id);
  void add_active_worker();
  void remove_active_worker();
  void dispatch();
  void watch();
};

}  // namespace mobula
