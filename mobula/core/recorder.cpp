#include "mobula/core/recorder.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <utility>

namespace mobula {
namespace {

constexpr double kNanosecond = 1e-9;

std::string thread_name() {
  char name[16] = "";
  pthread_getname_np(pthread_self(), name, sizeof name);
  return name;
}

}  // namespace

std::int64_t Recorder::now() noexcept {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

Recorder::Track& Recorder::make_track(std::string name, pid_t pid, std::int64_t id) {
  auto track = std::make_unique<Track>();
  track->name = std::move(name);
  track->pid = pid;
  track->id = id;
  std::lock_guard lock(mutex_);
  tracks_.push_back(std::move(track));
  return *tracks_.back();
}

Recorder::Track& Recorder::own_track() {
  static thread_local std::uint64_t recorder = 0;
  static thread_local Track* track = nullptr;
  if (recorder != id_) {
    const auto id = static_cast<std::int64_t>(syscall(SYS_gettid));
    track = &make_track(fmt::format("{} {}", thread_name(), id), getpid(), id);
    recorder = id_;
  }
  return *track;
}

Recorder::Span::Span(Recorder& recorder, std::string name)
    : recorder_(recorder), name_(std::move(name)), before_since_(0), begin_(now()) {
  Track& track = recorder_.own_track();
  std::lock_guard lock(track.mutex);
  before_ = std::exchange(track.running, name_);
  before_since_ = std::exchange(track.running_since, begin_);
}

Recorder::Span::~Span() {
  Track& track = recorder_.own_track();
  const std::int64_t end = now();
  std::lock_guard lock(track.mutex);
  track.running = std::move(before_);
  track.running_since = before_since_;
  recorder_.note(track, name_, begin_, end, failed_);
}

void Recorder::add(pid_t worker, const std::string& worker_name, const std::string& name, std::int64_t begin,
                   std::int64_t end, bool failed) {
  Track* track = nullptr;
  {
    std::lock_guard lock(mutex_);
    const auto found = workers_.find(worker);
    if (found != workers_.end()) track = found->second;
  }
  if (track == nullptr) {
    track = &make_track(fmt::format("{} {}", worker_name, worker), worker, worker);
    std::lock_guard lock(mutex_);
    workers_[worker] = track;
  }
  std::lock_guard lock(track->mutex);
  note(*track, name, begin, end, failed);
}

/// Under the track's mutex.
void Recorder::note(Track& track, const std::string& name, std::int64_t begin, std::int64_t end, bool failed) {
  auto number = track.numbers.find(name);
  if (number == track.numbers.end()) {
    number = track.numbers.emplace(name, static_cast<std::uint32_t>(track.functions.size())).first;
    track.functions.push_back({.name = name});
  }
  FunctionState& function = track.functions[number->second];
  ++function.num_ended;
  if (failed) ++function.num_failed;
  function.seconds += static_cast<double>(end - begin) * kNanosecond;
  if (!keep_events_.load(std::memory_order_relaxed)) return;
  if (num_events_.fetch_add(1, std::memory_order_relaxed) < kMaxEvents) {
    track.events.push_back({number->second, failed, begin, end});
  } else {
    num_dropped_.fetch_add(1, std::memory_order_relaxed);
  }
}

void Recorder::fill(EngineState& state) const {
  const std::int64_t time = now();
  std::map<std::string, FunctionState> sums;
  std::lock_guard lock(mutex_);
  for (const auto& track : tracks_) {
    std::lock_guard track_lock(track->mutex);
    for (const FunctionState& function : track->functions) {
      FunctionState& sum = sums[function.name];
      sum.num_ended += function.num_ended;
      sum.num_failed += function.num_failed;
      sum.seconds += function.seconds;
    }
    if (track->running.empty()) continue;
    state.running.push_back(
        {track->running, track->name, static_cast<double>(time - track->running_since) * kNanosecond});
  }
  for (auto& [name, sum] : sums) {
    sum.name = name;
    state.functions.push_back(std::move(sum));
  }
}

std::string Recorder::timeline() const {
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  bool first = true;
  const auto add = [&](const std::string& event) {
    text += first ? "" : ",\n";
    text += event;
    first = false;
  };
  std::lock_guard lock(mutex_);
  std::vector<pid_t> named;
  for (const auto& track : tracks_) {
    std::lock_guard track_lock(track->mutex);
    if (std::find(named.begin(), named.end(), track->pid) == named.end()) {
      named.push_back(track->pid);
      const std::string process = track->pid == getpid() ? "driver" : track->name;
      add(fmt::format(R"({{"ph":"M","name":"process_name","pid":{},"tid":{},"args":{{"name":{}}}}})", track->pid,
                      track->id, to_line(Json(process))));
    }
    add(fmt::format(R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":{}}}}})", track->pid,
                    track->id, to_line(Json(track->name))));
    std::vector<std::string> names;
    for (const FunctionState& function : track->functions) names.push_back(to_line(Json(function.name)));
    for (const Event& event : track->events) {
      add(fmt::format(R"({{"ph":"X","name":{},"cat":"{}","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f}}})",
                      names[event.name], event.failed ? "failed" : "task", track->pid, track->id,
                      static_cast<double>(event.begin) / 1000.0,
                      static_cast<double>(event.end - event.begin) / 1000.0));
    }
  }
  text += fmt::format("\n],\"otherData\":{{\"dropped\":\"{}\"}}}}\n", num_dropped_.load());
  return text;
}

}  // namespace mobula
