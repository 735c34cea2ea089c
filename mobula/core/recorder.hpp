/// A record of the calls that run: what runs now, sums for each function, and (for a timeline) every one of them.
///
/// Kept only while somebody wants it. Threads write into tracks of their own; a worker process' calls are noted by the
/// driver when their results come.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mobula/core/state.hpp"

namespace mobula {

class Recorder {
 public:
  /// Most calls that a timeline keeps; later ones are counted only.
  static constexpr std::size_t kMaxEvents = 2'000'000;

  Recorder() = default;
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// Returns the monotonic clock in nanoseconds: the same in every process of the machine.
  static std::int64_t now() noexcept;

  /// One call of this thread, from its construction to its end.
  class Span {
   public:
    Span(Recorder& recorder, std::string name);
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;
    ~Span();
    void fail() noexcept { failed_ = true; }

   private:
    Recorder& recorder_;
    std::string name_;
    std::string before_;  ///< a call that waits below this one on the same thread
    std::int64_t before_since_;
    std::int64_t begin_;
    bool failed_ = false;
  };
  /// Notes a call that has run in a worker process.
  void add(pid_t worker, const std::string& worker_name, const std::string& name, std::int64_t begin, std::int64_t end,
           bool failed);

  /// Keeps every call from now on, for a timeline.
  void keep_events() noexcept { keep_events_.store(true, std::memory_order_relaxed); }
  /// Fills in functions and running.
  void fill(EngineState& state) const;
  /// Returns all calls in Chrome's trace-event format (JSON object form, complete events), which Perfetto opens.
  std::string timeline() const;

 private:
  struct Event {
    std::uint32_t name;
    bool failed;
    std::int64_t begin;
    std::int64_t end;
  };
  /// What one thread, or one worker process, has run.
  struct Track {
    mutable std::mutex mutex;
    std::string name;
    pid_t pid = 0;
    std::int64_t id = 0;
    std::string running;  ///< empty: nothing
    std::int64_t running_since = 0;
    std::map<std::string, std::uint32_t, std::less<>> numbers;  ///< of functions, into `functions`
    std::vector<FunctionState> functions;
    std::vector<Event> events;
  };
  Track& own_track();
  Track& make_track(std::string name, pid_t pid, std::int64_t id);
  void note(Track& track, const std::string& name, std::int64_t begin, std::int64_t end, bool failed);

  static inline std::atomic<std::uint64_t> next_id_{1};
  const std::uint64_t id_ = next_id_.fetch_add(1);
  std::atomic<bool> keep_events_{false};
  std::atomic<std::size_t> num_events_{0};
  std::atomic<std::uint64_t> num_dropped_{0};
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Track>> tracks_;
  std::map<pid_t, Track*> workers_;
};

}  // namespace mobula
