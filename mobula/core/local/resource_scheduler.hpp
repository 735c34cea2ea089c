/// Decides when work that needs more than one plain slot may start: other numbers of processors, GPUs, custom resources.
///
/// In the order of arrival; what comes later may go ahead only with resources that are not kept for the oldest waiting
/// one of each kind of need, so nothing starves. A decision costs in proportion to the kinds of need that wait, not to
/// how many wait. Processors are slots of the thread pool, set aside while such work runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mobula/core/resources.hpp"

namespace mobula {

class ResourceScheduler {
 public:
  /// `request_slots` and `return_slots` move slots from and to the thread pool; the answer to the first is slot_granted().
  ResourceScheduler(ResourceSet total, std::function<void(int)> request_slots, std::function<void(int)> return_slots);

  /// Throws ResourceError where the machine as a whole has less than `need`; `who` names the asker.
  void check(const ResourceSet& need, const std::string& who) const;
  /// Calls `start` once `need` is set aside; soon, or in the call. End with release(). Where part of the need is retired
  /// first, calls `fail` instead. Returns the entry's number, for withdraw().
  std::uint64_t acquire(ResourceSet need, std::function<void()> start,
                        std::function<void(std::exception_ptr)> fail = nullptr);
  /// Takes back what has not started. Returns false where it has.
  bool withdraw(std::uint64_t entry);
  /// Adds resources to what there is.
  void offer(const ResourceSet& more);
  /// Takes the resources of these names away, for good: who waits for them fails with `error`, and once nobody uses them
  /// any more `give_back` is released.
  void retire(const ResourceSet& names, const ResourceSet& give_back, const std::exception_ptr& error);
  void release(const ResourceSet& need);
  /// Counts again what was released while its holder waited, at once: more than there is may be in use for a while.
  void take_back(const ResourceSet& need);
  void slot_granted();
  /// Starts everything that still waits, whether there is room or not: the engine is stopping and cancels it.
  void stop();

  /// Tells whether all slots are set aside, so that the thread pool runs nothing.
  bool holds_every_slot() const noexcept { return holds_every_slot_.load(std::memory_order_acquire); }

  /// Returns how many entries wait.
  std::size_t num_waiting() const;
  ResourceSet total() const;
  ResourceSet available() const;

 private:
  struct Entry {
    std::uint64_t number;
    std::function<void()> start;
    std::function<void(std::exception_ptr)> fail;
  };
  /// Those that need the same wait together, so that a decision looks at each kind of need, not at each that waits.
  struct Queue {
    ResourceSet need;
    std::list<Entry> waiting;  ///< oldest first
  };
  using Queues = std::map<std::map<std::string, Amount>, Queue>;
  std::list<Entry> take_all(const std::function<bool(const Queue&)>& which);
  struct Retired {
    ResourceSet names;
    ResourceSet give_back;
  };
  void pump();
  void settle_retired();

  const std::function<void(int)> request_slots_;
  const std::function<void(int)> return_slots_;
  mutable std::mutex mutex_;
  ResourceSet total_;
  ResourceSet used_;
  int held_slots_ = 0;
  int requested_slots_ = 0;
  std::atomic<bool> holds_every_slot_{false};
  Queues queues_;
  std::uint64_t next_entry_ = 1;
  std::vector<Retired> retired_;
};

/// Threads for work that holds its own resources, kept for the next when one ends.
class ElasticThreads {
 public:
  ElasticThreads() = default;
  ElasticThreads(const ElasticThreads&) = delete;
  ElasticThreads& operator=(const ElasticThreads&) = delete;
  ~ElasticThreads() { stop(); }
  void run(std::function<void()> work);
  /// Waits for what runs.
  void stop();

 private:
  void loop();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
  std::size_t num_idle_ = 0;
  bool stopping_ = false;
};

}  // namespace mobula
