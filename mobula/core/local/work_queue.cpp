#include "mobula/core/local/work_queue.hpp"

namespace mobula {

WorkQueue::WorkQueue() {
  rings_.push_back(std::make_unique<Ring>(256));
  ring_ = rings_.back().get();
}

void WorkQueue::push(Job job) {
  const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);
  Ring* ring = ring_.load(std::memory_order_relaxed);
  if (bottom - known_top_ > ring->mask) {
    known_top_ = top_.load(std::memory_order_acquire);
    if (bottom - known_top_ > ring->mask) {
      grow(known_top_, bottom);
      ring = ring_.load(std::memory_order_relaxed);
    }
  }
  ring->at(bottom).store(job, std::memory_order_relaxed);
  bottom_.store(bottom + 1, std::memory_order_release);
}

void WorkQueue::grow(std::int64_t top, std::int64_t bottom) {
  Ring* old = ring_.load(std::memory_order_relaxed);
  auto wider = std::make_unique<Ring>((old->mask + 1) * 2);
  for (std::int64_t i = top; i < bottom; ++i) {
    wider->at(i).store(old->at(i).load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
  ring_.store(wider.get(), std::memory_order_release);
  rings_.push_back(std::move(wider));
}

Job WorkQueue::pop() {
  const std::int64_t bottom = bottom_.load(std::memory_order_relaxed) - 1;
  Ring* ring = ring_.load(std::memory_order_relaxed);
  bottom_.store(bottom, std::memory_order_seq_cst);
  std::int64_t top = top_.load(std::memory_order_seq_cst);
  if (top > bottom) {
    bottom_.store(bottom + 1, std::memory_order_relaxed);
    return 0;
  }
  Job job = ring->at(bottom).load(std::memory_order_relaxed);
  if (top == bottom) {
    if (!top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst, std::memory_order_relaxed)) job = 0;
    bottom_.store(bottom + 1, std::memory_order_relaxed);
  }
  return job;
}

Job WorkQueue::steal(bool& contended) {
  std::int64_t top = top_.load(std::memory_order_seq_cst);
  const std::int64_t bottom = bottom_.load(std::memory_order_seq_cst);
  if (top >= bottom) return 0;
  Ring* ring = ring_.load(std::memory_order_acquire);
  const Job job = ring->at(top).load(std::memory_order_relaxed);
  if (!top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst, std::memory_order_relaxed)) {
    contended = true;
    return 0;
  }
  return job;
}

}  // namespace mobula
