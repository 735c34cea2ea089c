/// A number in memory shared between processes that one of them raises and others wait for.
#pragma once

#include <atomic>
#include <cstdint>

namespace mobula::train {

/// Lives in zeroed shared memory and takes a cache line of its own, so that its writer disturbs nobody else's. Comparisons
/// wrap around: values may differ by less than 2^31.
struct alignas(64) SharedCounter {
  std::atomic<std::uint32_t> value{0};
  std::atomic<std::uint32_t> sleepers{0};

  /// Sets the value and wakes who waits for it. Everything written before is seen by whom reached() or wait_for() tells.
  void raise(std::uint32_t to) noexcept;
  /// Tells whether the value has come to `target` or passed it.
  bool reached(std::uint32_t target) const noexcept {
    return static_cast<std::int32_t>(value.load(std::memory_order_acquire) - target) >= 0;
  }
  /// Waits until reached(target): some microseconds awake, then asleep. Who would wait for a dead process is ended by the
  /// gang's driver, so there is no deadline.
  void wait_for(std::uint32_t target) noexcept;
};
static_assert(sizeof(SharedCounter) == 64 && std::atomic<std::uint32_t>::is_always_lock_free);

}  // namespace mobula::train
