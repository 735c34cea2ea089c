/// Threads that run jobs: each with a queue of its own, stealing from the others when that is empty.
///
/// A fixed number of slots says how many run at once. A thread that blocks lends its slot: another thread, woken or
/// started for it, goes on in its place, so tasks that wait for tasks never run out of threads. When the blocked one
/// returns, some thread gives up its slot at its next job's end.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "mobula/core/local/work_queue.hpp"

namespace mobula {

class TaskGroup;

class ThreadPool {
 public:
  /// Starts the threads. `run` runs a job on a worker thread and must not throw.
  /// `slot_granted` is told of each slot that request_slots() asked for, as it comes free.
  ThreadPool(int num_slots, std::function<void(Job)> run, std::function<void()> slot_granted);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  /// Queues a job. Any thread. A worker's own jobs run newest first; `next`: right after the job that is running, on the
  /// same thread, unless that takes long.
  void submit(Job job, bool next = false);
  /// Tells whether the calling thread is one of the workers.
  bool on_worker() const noexcept;

  /// Tells whether the calling thread has woken a worker since it last asked.
  bool has_woken_sleeper() const noexcept;

  /// On a worker that is about to block, and when it goes on.
  void lend_slot();
  void take_slot_back();
  /// Sets slots aside for work outside the pool. Each is granted when a worker can spare it.
  void request_slots(int count);
  /// Takes them back into use.
  void return_slots(int count);

  /// On a worker whose job is about to end: says that it looks for work, where it has none left and too few look. Whoever
  /// waits for the job, and queues the next at once, need not wake another thread for it then. Returns whether it said so.
  bool announce_search();
  /// Takes that back.
  void withdraw_search();
  /// Tells whether the calling worker has other jobs at hand. On a worker.
  bool has_local_jobs() const noexcept;

  /// Notes the end of a group's task; told to the group in bulk. On a worker.
  void finish_in_group(TaskGroup* group);
  /// Tells groups what has been noted, unless it is for `keep`. On a worker.
  void flush_group(TaskGroup* keep = nullptr);

  /// Stops once the jobs that run have ended; hands each queued job to `drop`.
  void stop(const std::function<void(Job)>& drop);
  int num_slots() const noexcept { return num_slots_; }

 private:
  struct Worker;
  struct External;
  static constexpr std::size_t kMaxThreads = 2048;
  static constexpr std::size_t kMaxExternal = 256;

  void start_thread(bool spinning);
  void loop(Worker& self);
  Job next_local(Worker& self);
  Job take_outside(Worker& self);
  Job take_batch(Worker& self, WorkQueue& victim);
  Job take_next_of_others(Worker& self);
  Job search(Worker& self);
  Job park(Worker& self);
  void retire(Worker& self);
  void stop_spinning(Worker& self);
  static void leave_processor(Worker& self);
  bool any_queued() const;
  enum class Queued { no, yes };  ///< whether the job is where any_queued() looks
  void notify(Queued queued);
  void wake_one();
  WorkQueue* external_queue();
  bool owes_slot() const noexcept { return owed_.load(std::memory_order_relaxed) > 0; }

  const int num_slots_;
  const std::uint32_t max_spinning_;
  bool asymmetric_ = false;  ///< the kernel makes our sleepers' barrier count for everybody
  std::function<void(Job)> run_;
  std::function<void()> slot_granted_;
  const std::uint64_t id_;

  /// Threads that look for work (low half) and that sleep with a slot (high half).
  alignas(64) std::atomic<std::uint32_t> idle_{0};
  alignas(64) std::atomic<int> owed_{0};  ///< slots to be given up
  std::atomic<bool> stopping_{false};
  std::atomic<std::size_t> num_threads_{0};
  std::array<std::atomic<Worker*>, kMaxThreads> workers_{};
  std::atomic<std::size_t> num_external_{0};
  std::array<std::atomic<External*>, kMaxExternal> external_{};
  std::vector<std::shared_ptr<External>> external_owners_;  ///< under the mutex

  std::mutex mutex_;
  std::vector<Worker*> sleeping_;  ///< with a slot
  std::vector<Worker*> spare_;     ///< asleep without one
  int requested_ = 0;              ///< of the slots owed, those for request_slots()
  std::mutex overflow_mutex_;
  std::deque<Job> overflow_;  ///< from threads that got no queue of their own
  std::atomic<std::size_t> num_overflow_{0};
};

}  // namespace mobula
