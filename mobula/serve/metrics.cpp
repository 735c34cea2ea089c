#include "mobula/serve/metrics.hpp"

#include <fmt/format.h>

namespace mobula::serve {

void Histogram::add(std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  std::size_t bucket = 0;
  while (bucket < kBounds.size() && seconds > kBounds[bucket]) ++bucket;
  ++counts_[bucket];
  sum_nanoseconds_ += static_cast<std::uint64_t>(duration.count());
}

std::string Histogram::to_string(std::string_view name, std::string_view help) const {
  std::string text = fmt::format("# HELP {0} {1}\n# TYPE {0} histogram\n", name, help);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < kBounds.size(); ++i) {
    total += counts_[i];
    text += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, kBounds[i], total);
  }
  total += counts_.back();
  text += fmt::format("{0}_bucket{{le=\"+Inf\"}} {1}\n{0}_sum {2}\n{0}_count {1}\n", name, total,
                      static_cast<double>(sum_nanoseconds_) * 1e-9);
  return text;
}

std::string metric_line(std::string_view name, std::string_view type, std::string_view help, double value) {
  return fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3}\n", name, help, type, value);
}

void Metrics::count_request(std::string_view route, int status) {
  const std::lock_guard lock(mutex_);
  ++requests_[{std::string(route), status}];
}

std::string Metrics::to_string() const {
  std::string text = "# HELP mobula_http_requests_total Requests answered\n# TYPE mobula_http_requests_total counter\n";
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, count] : requests_) {
      text +=
          fmt::format("mobula_http_requests_total{{route=\"{}\",status=\"{}\"}} {}\n", key.first, key.second, count);
    }
  }
  text += metric_line("mobula_disconnects_total", "counter", "Requests whose client went away",
                      static_cast<double>(num_disconnects));
  text += request_seconds.to_string("mobula_request_seconds", "From a request's arrival to its answer's end");
  text += first_token_seconds.to_string("mobula_first_token_seconds", "From a request's arrival to its first token");
  return text;
}

}  // namespace mobula::serve
