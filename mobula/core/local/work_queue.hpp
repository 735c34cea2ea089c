/// A queue that one thread fills and empties at one end, and that others steal from at the other.
///
/// After Chase and Lev, "Dynamic Circular Work-Stealing Deque" (2005), with the memory orders of Lê, Pop, Cohen and Zappa
/// Nardelli, "Correct and Efficient Work-Stealing for Weak Memory Models" (2013), fences folded into the accesses.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace mobula {

/// What a worker thread runs next: a task, or an actor with calls in its queue (lowest bit set). 0: nothing.
using Job = std::uintptr_t;

class WorkQueue {
 public:
  WorkQueue();

  /// Owner: adds a job. The store that shows it to others is a release, not a full barrier.
  void push(Job job);
  /// Owner: takes the job added last, or 0.
  Job pop();
  /// Anyone: takes the oldest job; 0 where there is none, or where another thief was faster (`contended`).
  Job steal(bool& contended);
  /// Anyone: about how many jobs there are.
  std::int64_t size() const noexcept {
    return bottom_.load(std::memory_order_relaxed) - top_.load(std::memory_order_relaxed);
  }

 private:
  struct Ring {
    explicit Ring(std::int64_t capacity)
        : mask(capacity - 1), slots(std::make_unique<std::atomic<Job>[]>(static_cast<std::size_t>(capacity))) {}
    std::atomic<Job>& at(std::int64_t index) { return slots[static_cast<std::size_t>(index & mask)]; }
    std::int64_t mask;
    std::unique_ptr<std::atomic<Job>[]> slots;
  };
  void grow(std::int64_t top, std::int64_t bottom);

  alignas(64) std::atomic<std::int64_t> top_{0};
  alignas(64) std::atomic<std::int64_t> bottom_{0};
  std::atomic<Ring*> ring_;
  std::int64_t known_top_ = 0;                ///< owner's last look at top_, which only grows
  std::vector<std::unique_ptr<Ring>> rings_;  ///< thieves may still read outgrown ones
};

}  // namespace mobula
