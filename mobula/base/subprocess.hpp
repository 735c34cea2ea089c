/// Another program run as a child: its output read line by line, its end waited for, never left behind.
///
///     Subprocess child({"/usr/bin/git", "rev-parse", "HEAD"}, {.capture_stdout = true});
///     while (auto line = child.read_line()) use(*line);
///     if (child.wait() != 0) ...
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mobula {

struct SubprocessOptions {
  bool capture_stdout = false;  ///< read_line() reads it; otherwise it goes where ours goes
  bool discard_stderr = false;
  std::vector<std::pair<std::string, std::string>> environment;  ///< set in the child beside ours
};

/// A running child process. Not thread-safe, but for signal().
class Subprocess {
 public:
  /// Starts `arguments[0]` (a path, or a name looked up in PATH). Throws Error(not_found) or Error(resource).
  explicit Subprocess(const std::vector<std::string>& arguments, SubprocessOptions options = {});
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;
  /// Kills the child where it still runs, and reaps it.
  ~Subprocess();

  pid_t pid() const noexcept { return pid_; }
  /// Returns the next line of its standard output without the line's end, or nothing at the end of the output.
  std::optional<std::string> read_line();
  /// Sends a signal; does nothing once the child was reaped.
  void signal(int number) noexcept;
  /// Waits for the end. Returns the exit code, or 128 + the signal that ended it.
  int wait();
  /// Waits at most `timeout`; nothing where it still runs.
  std::optional<int> wait_for(std::chrono::milliseconds timeout);

 private:
  pid_t pid_ = -1;
  int output_ = -1;
  std::string buffer_;
  std::optional<int> result_;
};

/// Returns the path of the running program.
std::string program_path();

}  // namespace mobula
