/// What a server counts, written in Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace mobula::serve {

/// Counts durations in buckets from 5 ms to 2 minutes. Thread-safe.
class Histogram {
 public:
  void add(std::chrono::nanoseconds duration);
  /// Returns the metric's lines, `name` in seconds.
  std::string to_string(std::string_view name, std::string_view help) const;

  static constexpr std::array<double, 14> kBounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                     1,     2.5,  5,     10,   30,  60,   120};

 private:
  std::array<std::atomic<std::uint64_t>, kBounds.size() + 1> counts_{};
  std::atomic<std::uint64_t> sum_nanoseconds_{0};
};

/// The metrics of an API. Thread-safe.
class Metrics {
 public:
  void count_request(std::string_view route, int status);

  Histogram request_seconds;      ///< from a request's arrival to its answer's end
  Histogram first_token_seconds;  ///< from a request's arrival to its first token
  std::atomic<std::uint64_t> num_disconnects{0};

  /// Returns all lines of this object.
  std::string to_string() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::uint64_t> requests_;
};

/// Formats one counter or gauge with its help line.
std::string metric_line(std::string_view name, std::string_view type, std::string_view help, double value);

}  // namespace mobula::serve
