/// The errors that the core adds to mobula::Error.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <typeinfo>
#include <vector>

#include "mobula/base/error.hpp"

namespace mobula {

/// A task's own exception, rethrown at get(). Its what() is the exception's.
class TaskError : public Error {
 public:
  /// `type` is the exception's type as it reads in source, such as "std::out_of_range".
  TaskError(std::string type, std::string message, std::string hint = {});
  /// The same with the type's public bases behind the type itself.
  TaskError(std::vector<std::string> types, std::string message, std::string hint);
  const std::string& type() const noexcept { return types_.front(); }
  /// Returns the type and its public bases, nearest first: what catch clauses in the task itself would have matched.
  const std::vector<std::string>& types() const noexcept { return types_; }

 private:
  std::vector<std::string> types_;
};

/// How a worker process ended.
struct WorkerExit {
  int exit_code = 0;
  int signal = 0;                 ///< 0: it exited with exit_code
  std::uint64_t peak_memory = 0;  ///< bytes of memory it took at its most; 0: not known
  bool out_of_memory = false;     ///< the system killed it, because memory had run out
};

/// A worker process ended in the middle of a task, and its retries (if any) are used up.
class WorkerDiedError : public Error {
 public:
  /// `signal` 0: it exited with `exit_code`.
  WorkerDiedError(std::string message, int signal, int exit_code, std::string last_stderr, std::string hint = {});
  WorkerDiedError(std::string message, const WorkerExit& exit, std::string last_stderr, std::string hint = {});
  int signal() const noexcept { return exit_.signal; }
  int exit_code() const noexcept { return exit_.exit_code; }
  /// Tells whether the system killed it because memory had run out, where the engine can tell.
  bool out_of_memory() const noexcept { return exit_.out_of_memory; }
  /// Returns how many bytes of memory the process took at its most; 0 where that is not known.
  std::uint64_t peak_memory() const noexcept { return exit_.peak_memory; }
  /// Returns the last lines of the worker's standard error.
  const std::string& last_stderr() const noexcept { return last_stderr_; }

 private:
  WorkerExit exit_;
  std::string last_stderr_;
};

/// A wait's time ran out; what was waited for goes on.
class TimeoutError : public Error {
 public:
  explicit TimeoutError(std::string message, std::string hint = {});
};

/// The task was cancelled, or the runtime was shut down before it ran.
class CancelledError : public Error {
 public:
  explicit CancelledError(std::string message, std::string hint = {});
};

/// An object is gone and can't be made again.
class ObjectLostError : public Error {
 public:
  explicit ObjectLostError(std::string message, std::string hint = {});
};

/// Memory, or the budget for it, ran out.
class OutOfMemoryError : public Error {
 public:
  explicit OutOfMemoryError(std::string message, std::string hint = {});
};

/// More of a resource is asked for than there is.
class ResourceError : public Error {
 public:
  explicit ResourceError(std::string message, std::string hint = {});
};

/// Returns the running exception as a task's failure: a mobula::Error stays what it is, anything else becomes a
/// TaskError with its type's name. Call it in a catch block.
std::exception_ptr capture_task_failure();

/// Turns an error into bytes and back, keeping its class; for errors that cross a process.
std::string encode_error(const std::exception_ptr& error);
std::exception_ptr decode_error(std::string_view bytes);

/// Throws a copy of the error with one more line of trace, keeping its class.
[[noreturn]] void rethrow_with_context(const std::exception_ptr& error, std::string where);
/// Returns such a copy.
std::exception_ptr with_context(const std::exception_ptr& error, std::string where);

/// Returns the failure of a task that needs a failed object: its trace says which argument of which task that was.
/// `argument` counts from 1; 0: one of them.
std::exception_ptr argument_failure(const std::exception_ptr& error, std::size_t argument, std::string_view task);

/// Says what a worker's death was and what to do about it: "was killed by SIGKILL", "exited with code 3" ...
WorkerDiedError describe_death(std::string_view who, const WorkerExit& exit, std::string last_stderr);

/// Returns a type's name as it reads in source.
std::string demangle(const char* name);
/// Returns the names of a class and of its public bases, nearest first.
std::vector<std::string> type_names(const std::type_info& type);

/// Returns the exceptions' names, for TaskOptions::retry_on: exception_types<IoError, std::bad_alloc>().
template <class... Exceptions>
std::vector<std::string> exception_types() {
  return {demangle(typeid(Exceptions).name())...};
}
/// Tells whether an error is, or a TaskError stands for, an exception of one of the types, or of one derived from them.
bool is_one_of(const std::exception_ptr& error, const std::vector<std::string>& types);

}  // namespace mobula
