/// Sleeping on a word of memory, also between processes.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <ctime>

namespace mobula {

/// Whether the word is seen by this process only, or lies in shared memory.
enum class FutexScope { process, shared };

/// Sleeps while `word` is `expected`, until it is woken or `timeout` (negative: none) passes. May return early.
inline void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                       std::chrono::nanoseconds timeout = std::chrono::nanoseconds(-1),
                       FutexScope scope = FutexScope::process) {
  timespec time{timeout.count() / 1'000'000'000, timeout.count() % 1'000'000'000};
  const int operation = FUTEX_WAIT | (scope == FutexScope::process ? FUTEX_PRIVATE_FLAG : 0);
  syscall(SYS_futex, &word, operation, expected, timeout.count() < 0 ? nullptr : &time, nullptr, 0);
}

/// Wakes up to `count` sleepers. Does not read the word, so it may be gone already.
inline void futex_wake(const std::atomic<std::uint32_t>* word, int count = INT_MAX,
                       FutexScope scope = FutexScope::process) {
  const int operation = FUTEX_WAKE | (scope == FutexScope::process ? FUTEX_PRIVATE_FLAG : 0);
  syscall(SYS_futex, word, operation, count, nullptr, nullptr, 0);
}

/// Lets another thread that waits for this processor run: the one that is spun for may be it.
inline void spin_yield() {
  syscall(SYS_sched_yield);
}

/// Tells the processor that this thread is spinning.
inline void spin_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace mobula
