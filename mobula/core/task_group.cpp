#include "mobula/core/task_group.hpp"

#include <bit>
#include <chrono>

#include "mobula/base/log.hpp"
#include "mobula/core/local/futex.hpp"
#include "mobula/core/runtime.hpp"

namespace mobula {
namespace {

constexpr auto kSpinTime = std::chrono::microseconds(20);

/// The half of a counter that changes with every count: what a futex can sleep on.
const std::atomic<std::uint32_t>& low_half(const std::atomic<std::uint64_t>& counter) {
  static_assert(std::endian::native == std::endian::little);
  return *reinterpret_cast<const std::atomic<std::uint32_t>*>(&counter);
}

}  // namespace

TaskGroup::TaskGroup(Runtime& runtime) : engine_(runtime.engine()) {}

TaskGroup::~TaskGroup() {
  wait_quietly();
  if (error_ == nullptr) return;
  try {
    std::rethrow_exception(error_);
  } catch (const std::exception& error) {
    log_warning("a task of a group failed, and nobody waited for it: {}", error.what());
  }
}

void TaskGroup::wait() {
  wait_quietly();
  std::exception_ptr error;
  {
    std::lock_guard lock(mutex_);
    error = std::exchange(error_, nullptr);
  }
  if (error != nullptr) std::rethrow_exception(error);
}

void TaskGroup::wait_quietly() noexcept {
  const auto done = [&](std::uint64_t finished) {
    return (finished & ~kWaiting) == started_.load(std::memory_order_acquire);
  };
  const auto end = std::chrono::steady_clock::now() + kSpinTime;
  for (int round = 1;; ++round) {
    if (done(finished_.load(std::memory_order_acquire))) return;
    if (engine_->poll()) continue;
    spin_pause();
    if (round % 16 == 0 && std::chrono::steady_clock::now() > end) break;
  }
  engine_->lend_slot();
  for (;;) {
    const std::uint64_t seen = finished_.fetch_or(kWaiting, std::memory_order_acq_rel) | kWaiting;
    if (done(seen)) break;
    futex_wait(low_half(finished_), static_cast<std::uint32_t>(seen));
  }
  finished_.fetch_and(~kWaiting, std::memory_order_relaxed);
  engine_->take_slot_back();
}

void TaskGroup::finished(std::uint64_t count) noexcept {
  const std::atomic<std::uint32_t>* word = &low_half(finished_);
  // The group may be gone right after the addition: only its address is used then.
  if ((finished_.fetch_add(count, std::memory_order_acq_rel) & kWaiting) != 0) futex_wake(word);
}

void TaskGroup::fail(std::exception_ptr error) noexcept {
  std::lock_guard lock(mutex_);
  if (error_ == nullptr) error_ = std::move(error);
}

}  // namespace mobula
