/// A worker's standard error: passed on as it comes, its last lines kept for the error that explains a death.
#pragma once

#include <cstddef>
#include <string>

namespace mobula {

/// Reads from a non-blocking pipe and writes to our standard error. Not thread-safe.
class StderrTail {
 public:
  static constexpr std::size_t kKept = 4096;

  /// Passes on everything that can be read now. Returns false once the pipe has no writer any more.
  bool forward(int pipe);
  /// Returns the last lines, at most 4 KiB, beginning at a line's start where one is among them.
  std::string last_lines() const;

 private:
  std::string kept_;
};

}  // namespace mobula
