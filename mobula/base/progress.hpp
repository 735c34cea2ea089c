/// Progress of long work on standard error: a bar that redraws on a terminal, plain lines now and then in a
/// pipe.
///
///     Progress progress("training", steps);
///     progress.update(step, fmt::format("loss {:.3f}", loss));
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace mobula {

/// Turns all progress output off (--quiet) or on. Default: on.
void set_progress_enabled(bool enabled);

/// One piece of long work. Not thread-safe.
class Progress {
 public:
  /// `total` 0 means unknown: counts up without a bar.
  Progress(std::string_view label, std::uint64_t total);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Ends the line on a terminal.
  ~Progress();

  /// Shows `done` of the total; `note` stands behind it. Draws at most ten times a second on a terminal, and
  /// one line every ten seconds (and at the end) in a pipe.
  void update(std::uint64_t done, std::string_view note = {});
  /// Takes the bar off the terminal, so that other output can be written; the next update draws it again.
  void clear();

 private:
  std::string line(std::uint64_t done, std::string_view note) const;

  std::string label_;
  std::uint64_t total_;
  bool terminal_;
  bool drawn_ = false;
  std::uint64_t first_ = 0;
  bool started_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_{};
};

}  // namespace mobula
