/// Errors of the whole stack: a code, one message that names what is wrong, a hint that says what to change.
///
///     throw Error(ErrorCode::not_found, fmt::format("{}: no such file", path), "check data.path");
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mobula {

/// Says what kind of failure an Error is; decides the exit code of the command line.
enum class ErrorCode {
  invalid_argument,  ///< the caller's input or configuration is wrong (exit code 2)
  not_found,         ///< a file, key, model or name that does not exist
  already_exists,    ///< something is in the way and would be overwritten
  corrupt,           ///< a file or message that is damaged, truncated or hostile
  io,                ///< the operating system refused: disk full, permission, address in use
  unsupported,       ///< valid, but not something Mobula does
  unavailable,       ///< a peer, server or component that can't be reached or isn't installed
  resource,          ///< more of a resource was asked for than there is
  timeout,           ///< a deadline passed
  cancelled,         ///< stopped on request
  worker_died,       ///< a worker process ended without being asked to
  task_failed,       ///< user code threw
  object_lost,       ///< a stored object is gone and can't be made again
  out_of_memory,     ///< memory, or the quota for it, ran out
  interrupted,       ///< stopped with its state saved: run again to go on (exit code 75)
  internal,          ///< a bug of ours
};

/// Returns the code's spelling, such as "invalid_argument".
std::string_view to_string(ErrorCode code) noexcept;

/// Base of every exception that Mobula throws. Copies share one state, so that copying never throws.
class Error : public std::exception {
 public:
  /// Makes an error. `message` names the file, row, key or rank and what was expected; `hint` says what to
  /// change.
  Error(ErrorCode code, std::string message, std::string hint = {});

  ErrorCode code() const noexcept;
  const std::string& message() const noexcept;
  const std::string& hint() const noexcept;
  /// Returns where the error passed through, innermost first: tasks, callers, files.
  const std::vector<std::string>& trace() const noexcept;
  /// Returns the error this one was made from, or null.
  std::exception_ptr cause() const noexcept;
  /// Returns the message.
  const char* what() const noexcept override;

  /// Adds a line to the trace. Returns *this, so that `throw error.with_context(...)` reads well.
  Error& with_context(std::string where);
  /// Remembers the exception this error was made from.
  Error& caused_by(std::exception_ptr cause);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// Throws Error(invalid_argument).
[[noreturn]] void throw_invalid(std::string message, std::string hint = {});
/// Throws Error(io) with the text of `error_number` (an errno) appended.
[[noreturn]] void throw_io(std::string_view what, int error_number, std::string hint = {});
/// Throws Error(internal): a broken promise inside Mobula, not the user's fault.
[[noreturn]] void throw_internal(std::string message);

/// Returns the exit code of a command that failed with `code`: 2 wrong usage, 75 resume me, else 1.
int exit_code(ErrorCode code) noexcept;

/// Formats `error` as the last lines on standard error: "error: ..." and, where there is one, "hint: ...".
std::string describe(const std::exception& error);

}  // namespace mobula
