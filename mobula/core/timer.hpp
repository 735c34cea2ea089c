/// Short functions that run later, on one thread of their own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

namespace mobula {

/// Runs functions at given times. Its thread is started by the first of them. Thread-safe.
class Timer {
 public:
  using Clock = std::chrono::steady_clock;
  using Id = std::pair<Clock::time_point, std::uint64_t>;

  Timer() = default;
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { stop(); }

  /// Arranges for `work` to run at `time`; it must not throw and should not take long. After stop() it never runs.
  Id at(Clock::time_point time, std::function<void()> work);
  /// Takes it back. Returns false where it has begun, or has run.
  bool cancel(const Id& id);
  /// Drops what has not run, and waits for what runs.
  void stop();

 private:
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Id, std::function<void()>> waiting_;
  std::uint64_t next_ = 0;
  std::thread thread_;
  bool stopping_ = false;
};

}  // namespace mobula
