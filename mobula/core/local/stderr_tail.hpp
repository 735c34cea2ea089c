/// A worker's standard error: passed on as it comes, its last lines kept for the error that explains a death.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace mobula {

/// Reads from a non-blocking pipe and writes to our standard error. Not thread-safe.
class StderrTail {
 public:
  static constexpr std::size_t kKept = 4096;

  /// Passes bytes on as they are.
  StderrTail() = default;
  /// Passes whole lines on, each with the worker's name and process in front: "[worker 0, 4711] text", or as JSON objects
  /// where the log is written so.
  StderrTail(std::string worker, pid_t pid) : worker_(std::move(worker)), pid_(pid) {}

  /// Passes on to `sink` instead of our standard error.
  void set_sink(std::function<void(std::string_view)> sink) { sink_ = std::move(sink); }

  /// Passes on everything that can be read now. Returns false once the pipe has no writer any more.
  bool forward(int pipe);
  /// Returns the last lines, at most 4 KiB, beginning at a line's start where one is among them.
  std::string last_lines() const;
  /// Returns a line as it is passed on, without its end.
  std::string labelled(std::string_view line) const;

 private:
  /// Longest line that waits for its end.
  static constexpr std::size_t kMaxLine = 65536;

  void write(std::string_view text) const;

  std::function<void(std::string_view)> sink_;
  std::string worker_;
  pid_t pid_ = 0;
  std::string kept_;
  std::string partial_;  ///< a line whose end has not come
};

}  // namespace mobula
