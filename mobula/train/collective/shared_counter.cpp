#include "mobula/train/collective/shared_counter.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace mobula::train {
namespace {

/// About 20 microseconds: a peer that computes as fast as we do is seldom further behind; whoever is starved of processors
/// must not burn the one that the peer waits for.
constexpr int kSpins = 400;

void pause_briefly() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

long futex(const std::atomic<std::uint32_t>& word, int operation, std::uint32_t number) noexcept {
  return ::syscall(SYS_futex, reinterpret_cast<const std::uint32_t*>(&word), operation, number, nullptr, nullptr, 0);
}

}  // namespace

void SharedCounter::raise(std::uint32_t to) noexcept {
  // Sequentially consistent with the waiter's registration: either we see the sleeper, or it sees the new value.
  value.store(to, std::memory_order_seq_cst);
  if (sleepers.load(std::memory_order_seq_cst) != 0) futex(value, FUTEX_WAKE, INT_MAX);
}

void SharedCounter::wait_for(std::uint32_t target) noexcept {
  for (int i = 0; i < kSpins; ++i) {
    if (reached(target)) return;
    pause_briefly();
  }
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  for (;;) {
    const std::uint32_t seen = value.load(std::memory_order_seq_cst);
    if (static_cast<std::int32_t>(seen - target) >= 0) break;
    futex(value, FUTEX_WAIT, seen);
  }
  sleepers.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace mobula::train
