#include "mobula/core/errors.hpp"

#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <typeinfo>

#include "mobula/base/size.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {
namespace {

enum class Kind : std::uint8_t { plain, task, worker_died, timeout, cancelled, object_lost, out_of_memory, resource };

Kind kind_of(const Error& error) {
  if (dynamic_cast<const TaskError*>(&error) != nullptr) return Kind::task;
  if (dynamic_cast<const WorkerDiedError*>(&error) != nullptr) return Kind::worker_died;
  if (dynamic_cast<const TimeoutError*>(&error) != nullptr) return Kind::timeout;
  if (dynamic_cast<const CancelledError*>(&error) != nullptr) return Kind::cancelled;
  if (dynamic_cast<const ObjectLostError*>(&error) != nullptr) return Kind::object_lost;
  if (dynamic_cast<const OutOfMemoryError*>(&error) != nullptr) return Kind::out_of_memory;
  if (dynamic_cast<const ResourceError*>(&error) != nullptr) return Kind::resource;
  return Kind::plain;
}

/// Everything an error of any of our classes holds.
struct Parts {
  Kind kind = Kind::plain;
  ErrorCode code = ErrorCode::internal;
  std::string message;
  std::string hint;
  std::vector<std::string> trace;
  std::vector<std::string> types;  ///< of a TaskError
  std::string last_stderr;
  WorkerExit exit;
};

Parts take_apart(const std::exception_ptr& error) {
  Parts parts;
  try {
    std::rethrow_exception(error);
  } catch (const Error& own) {
    parts.kind = kind_of(own);
    parts.code = own.code();
    parts.message = own.message();
    parts.hint = own.hint();
    parts.trace = own.trace();
    if (const auto* task = dynamic_cast<const TaskError*>(&own)) parts.types = task->types();
    if (const auto* died = dynamic_cast<const WorkerDiedError*>(&own)) {
      parts.exit = {died->exit_code(), died->signal(), died->peak_memory(), died->out_of_memory()};
      parts.last_stderr = died->last_stderr();
    }
  } catch (const std::exception& other) {
    parts.kind = Kind::task;
    parts.code = ErrorCode::task_failed;
    parts.types = type_names(typeid(other));
    parts.message = other.what();
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    parts.kind = Kind::task;
    parts.code = ErrorCode::task_failed;
    parts.types = type != nullptr ? type_names(*type) : std::vector<std::string>{"unknown"};
    parts.message = fmt::format("an exception of type {}", parts.types.front());
    parts.hint = "throw mobula::Error or another std::exception, which can say what went wrong";
  }
  return parts;
}

template <class E>
std::exception_ptr finish(E error, const Parts& parts) {
  for (const std::string& line : parts.trace) error.with_context(line);
  return std::make_exception_ptr(std::move(error));
}

std::exception_ptr put_together(const Parts& p) {
  switch (p.kind) {
    case Kind::task:
      return finish(TaskError(p.types, p.message, p.hint), p);
    case Kind::worker_died:
      return finish(WorkerDiedError(p.message, p.exit, p.last_stderr, p.hint), p);
    case Kind::timeout:
      return finish(TimeoutError(p.message, p.hint), p);
    case Kind::cancelled:
      return finish(CancelledError(p.message, p.hint), p);
    case Kind::object_lost:
      return finish(ObjectLostError(p.message, p.hint), p);
    case Kind::out_of_memory:
      return finish(OutOfMemoryError(p.message, p.hint), p);
    case Kind::resource:
      return finish(ResourceError(p.message, p.hint), p);
    case Kind::plain:
      break;
  }
  return finish(Error(p.code, p.message, p.hint), p);
}

}  // namespace

TaskError::TaskError(std::string type, std::string message, std::string hint)
    : Error(ErrorCode::task_failed, std::move(message), std::move(hint)), types_{std::move(type)} {}
TaskError::TaskError(std::vector<std::string> types, std::string message, std::string hint)
    : Error(ErrorCode::task_failed, std::move(message), std::move(hint)), types_(std::move(types)) {
  if (types_.empty()) types_.emplace_back("unknown");
}
WorkerDiedError::WorkerDiedError(std::string message, int signal, int exit_code, std::string last_stderr,
                                 std::string hint)
    : WorkerDiedError(std::move(message), WorkerExit{.exit_code = exit_code, .signal = signal}, std::move(last_stderr),
                      std::move(hint)) {}
WorkerDiedError::WorkerDiedError(std::string message, const WorkerExit& exit, std::string last_stderr, std::string hint)
    : Error(ErrorCode::worker_died, std::move(message), std::move(hint)),
      exit_(exit),
      last_stderr_(std::move(last_stderr)) {}
TimeoutError::TimeoutError(std::string message, std::string hint)
    : Error(ErrorCode::timeout, std::move(message), std::move(hint)) {}
CancelledError::CancelledError(std::string message, std::string hint)
    : Error(ErrorCode::cancelled, std::move(message), std::move(hint)) {}
ObjectLostError::ObjectLostError(std::string message, std::string hint)
    : Error(ErrorCode::object_lost, std::move(message), std::move(hint)) {}
OutOfMemoryError::OutOfMemoryError(std::string message, std::string hint)
    : Error(ErrorCode::out_of_memory, std::move(message), std::move(hint)) {}
ResourceError::ResourceError(std::string message, std::string hint)
    : Error(ErrorCode::resource, std::move(message), std::move(hint)) {}

std::exception_ptr capture_task_failure() {
  try {
    throw;
  } catch (const Error&) {
    return std::current_exception();
  } catch (const std::bad_alloc&) {
    return std::make_exception_ptr(
        OutOfMemoryError("the task ran out of memory", "give it smaller inputs, or run fewer at once"));
  } catch (...) {
    return put_together(take_apart(std::current_exception()));
  }
}

std::string encode_error(const std::exception_ptr& error) {
  const Parts parts = take_apart(error);
  WireWriter out;
  out.number(parts.kind);
  out.number(parts.code);
  for (const std::string* text : {&parts.message, &parts.hint, &parts.last_stderr}) out.text(*text);
  out.number(parts.exit.signal);
  out.number(parts.exit.exit_code);
  out.number(parts.exit.peak_memory);
  out.number(parts.exit.out_of_memory);
  out.number<std::uint64_t>(parts.trace.size());
  for (const std::string& line : parts.trace) out.text(line);
  out.number<std::uint64_t>(parts.types.size());
  for (const std::string& type : parts.types) out.text(type);
  return out.take();
}

std::exception_ptr decode_error(std::string_view bytes) {
  WireReader in(bytes);
  Parts parts;
  parts.kind = in.number<Kind>();
  parts.code = in.number<ErrorCode>();
  for (std::string* text : {&parts.message, &parts.hint, &parts.last_stderr}) *text = in.text();
  parts.exit.signal = in.number<int>();
  parts.exit.exit_code = in.number<int>();
  parts.exit.peak_memory = in.number<std::uint64_t>();
  parts.exit.out_of_memory = in.number<bool>();
  for (auto left = in.number<std::uint64_t>(); left > 0; --left) parts.trace.emplace_back(in.text());
  for (auto left = in.number<std::uint64_t>(); left > 0; --left) parts.types.emplace_back(in.text());
  return put_together(parts);
}

std::exception_ptr with_context(const std::exception_ptr& error, std::string where) {
  Parts parts = take_apart(error);
  parts.trace.push_back(std::move(where));
  return put_together(parts);
}

void rethrow_with_context(const std::exception_ptr& error, std::string where) {
  std::rethrow_exception(with_context(error, std::move(where)));
}

std::exception_ptr argument_failure(const std::exception_ptr& error, std::size_t argument, std::string_view task) {
  return with_context(
      error, argument == 0 ? fmt::format("an argument of {}", task) : fmt::format("argument {} of {}", argument, task));
}

WorkerDiedError describe_death(std::string_view who, const WorkerExit& exit, std::string last_stderr) {
  const int signal = exit.signal;
  std::string how;
  std::string hint;
  if (exit.out_of_memory) {
    how = "was killed by the system, which had run out of memory";
    hint =
        "use smaller inputs, run fewer at once (TaskOptions::memory sets memory aside for each), or raise the memory "
        "limit of the container or machine";
  } else if (signal == SIGKILL) {
    how = "was killed by SIGKILL";
    hint =
        "somebody sent it this signal: kill -9, or the limit of a batch system; the system has counted no process that "
        "it killed for lack of memory";
  } else if (signal == SIGSEGV || signal == SIGBUS) {
    how = signal == SIGSEGV ? "died of a segmentation fault" : "died of a bus error";
    hint =
        "its code touched memory it must not, or its stack ran over (deep recursion): build the program with "
        "-fsanitize=address, or run the task alone in a debugger with Isolation::thread";
  } else if (signal == SIGABRT) {
    how = "aborted";
    hint = "its last lines of standard error say why: an assertion, or an exception where none may leave";
  } else if (signal == SIGILL || signal == SIGFPE) {
    how = signal == SIGILL ? "died of an illegal instruction" : "died of an arithmetic error";
    hint = signal == SIGILL ? "build the program for the processor of this machine"
                            : "its code divided an integer by zero, or its smallest value by -1";
  } else if (signal != 0) {
    const char* name = sigabbrev_np(signal);
    how = fmt::format("was ended by signal {} (SIG{})", signal, name != nullptr ? name : "?");
    hint = "something sent it this signal";
  } else {
    how = fmt::format("exited with code {}", exit.exit_code);
    hint = "tasks must return, not call exit()";
  }
  std::string message = fmt::format("{}: the worker process {}", who, how);
  if ((exit.out_of_memory || signal == SIGKILL) && exit.peak_memory != 0) {
    message += fmt::format("; it took {} at its most", format_size(exit.peak_memory));
  }
  std::string_view lines = last_stderr;
  while (lines.ends_with('\n')) lines.remove_suffix(1);
  if (!lines.empty()) message += "; its last lines were:";
  while (!lines.empty()) {
    const std::size_t end = std::min(lines.find('\n'), lines.size());
    message += fmt::format("\n  | {}", lines.substr(0, end));
    lines.remove_prefix(std::min(end + 1, lines.size()));
  }
  return {std::move(message), exit, std::move(last_stderr), std::move(hint)};
}

namespace {

void add_type(const std::type_info& type, std::vector<std::string>& names) {
  std::string name = demangle(type.name());
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  names.push_back(std::move(name));
  if (const auto* single = dynamic_cast<const abi::__si_class_type_info*>(&type)) {
    add_type(*single->__base_type, names);
  } else if (const auto* several = dynamic_cast<const abi::__vmi_class_type_info*>(&type)) {
    for (unsigned i = 0; i < several->__base_count; ++i) {
      if (several->__base_info[i].__is_public_p()) add_type(*several->__base_info[i].__base_type, names);
    }
  }
}

}  // namespace

std::vector<std::string> type_names(const std::type_info& type) {
  std::vector<std::string> names;
  add_type(type, names);
  return names;
}

bool is_one_of(const std::exception_ptr& error, const std::vector<std::string>& types) {
  std::vector<std::string> names;
  try {
    std::rethrow_exception(error);
  } catch (const TaskError& failure) {
    names = failure.types();
  } catch (const std::exception& other) {
    names = type_names(typeid(other));
  } catch (...) {
    return false;
  }
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return std::find(types.begin(), types.end(), name) != types.end();
  });
}

std::string demangle(const char* name) {
  int status = 0;
  char* readable = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string text = status == 0 ? readable : name;
  std::free(readable);
  return text;
}

}  // namespace mobula
