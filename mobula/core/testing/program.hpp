/// Runs a function of the test program as a program of its own, for tests that kill what they look at.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace mobula::testing {

/// Names a function that `start_program` can run. Define one as a static object.
class Program {
 public:
  Program(const char* name, int (*main)());
};

/// A started program; killed and reaped at the end.
class RunningProgram {
 public:
  explicit RunningProgram(const std::string& name);
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;
  ~RunningProgram();

  pid_t pid() const { return pid_; }
  /// Returns the next line of its standard output; empty at the end.
  std::string read_line();
  void kill(int signal);
  /// Waits for its end and returns wait()'s status.
  int wait();

 private:
  pid_t pid_ = -1;
  int output_ = -1;
};

/// Runs the program this process was started as, if it was.
void run_if_program();

/// Waits until the process has ended; false after `seconds`. Works for processes that are no children.
bool wait_until_gone(pid_t pid, int seconds = 20);

}  // namespace mobula::testing
