/// Decides when work that needs more than one plain slot may start: other numbers of processors, GPUs, custom resources.
///
/// In the order of arrival; what comes later may go ahead only with resources that nobody before it waits for, so
/// nothing starves. Processors are slots of the thread pool, set aside while such work runs.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
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
  /// Calls `start` once `need` is set aside; soon, or in the call. End with release().
  void acquire(ResourceSet need, std::function<void()> start);
  void release(const ResourceSet& need);
  /// Counts again what was released while its holder waited, at once: more than there is may be in use for a while.
  void take_back(const ResourceSet& need);
  void slot_granted();
  /// Starts everything that still waits, whether there is room or not: the engine is stopping and cancels it.
  void stop();

  ResourceSet total() const;
  ResourceSet available() const;

 private:
  struct Entry {
    ResourceSet need;
    std::function<void()> start;
  };
  void pump();

  const ResourceSet total_;
  const std::function<void(int)> request_slots_;
  const std::function<void(int)> return_slots_;
  mutable std::mutex mutex_;
  ResourceSet used_;
  int held_slots_ = 0;
  int requested_slots_ = 0;
  std::list<Entry> waiting_;
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
