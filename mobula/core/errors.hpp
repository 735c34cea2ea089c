/// The errors that the core adds to mobula::Error.
#pragma once

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

/// A worker process ended in the middle of a task, and its retries (if any) are used up.
class WorkerDiedError : public Error {
 public:
  /// `signal` 0: it exited with `exit_code`.
  WorkerDiedError(std::string message, int signal, int exit_code, std::string last_stderr, std::string hint = {});
  int signal() const noexcept { return signal_; }
  int exit_code() const noexcept { return exit_code_; }
  /// Returns the last lines of the worker's standard error.
  const std::string& last_stderr() const noexcept { return last_stderr_; }

 private:
  int signal_;
  int exit_code_;
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

/// Says what a worker's death was and what to do about it: "was killed by SIGKILL", "exited with code 3" ...
WorkerDiedError describe_death(std::string_view who, int signal, int exit_code, std::string last_stderr);

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
