#include "mobula/core/errors.hpp"

#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <typeinfo>

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
  int signal = 0;
  int exit_code = 0;
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
      parts.signal = died->signal();
      parts.exit_code = died->exit_code();
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
      return finish(WorkerDiedError(p.message, p.signal, p.exit_code, p.last_stderr, p.hint), p);
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
    : Error(ErrorCode::worker_died, std::move(message), std::move(hint)),
      signal_(signal),
      exit_code_(exit_code),
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
  out.number(parts.signal);
  out.number(parts.exit_code);
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
  parts.signal = in.number<int>();
  parts.exit_code = in.number<int>();
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

WorkerDiedError describe_death(std::string_view who, int signal, int exit_code, std::string last_stderr) {
  std::string how;
  std::string hint;
  if (signal == SIGKILL) {
    how = "was killed by SIGKILL";
    hint = "where nobody killed it, the system ran out of memory (see dmesg): use fewer workers or smaller inputs";
  } else if (signal == SIGSEGV || signal == SIGBUS) {
    how = signal == SIGSEGV ? "died of a segmentation fault" : "died of a bus error";
    hint = "the task's code touched memory it must not: run it under the asan preset";
  } else if (signal == SIGABRT) {
    how = "aborted";
    hint = "its last lines of standard error say why: an assertion, or an exception where none may leave";
  } else if (signal != 0) {
    const char* name = sigabbrev_np(signal);
    how = fmt::format("was ended by signal {} (SIG{})", signal, name != nullptr ? name : "?");
    hint = "something sent it this signal";
  } else {
    how = fmt::format("exited with code {}", exit_code);
    hint = "tasks must return, not call exit()";
  }
  std::string message = fmt::format("{}: the worker process {}", who, how);
  if (!last_stderr.empty()) message += fmt::format("; its last lines were:\n{}", last_stderr);
  return {std::move(message), signal, exit_code, std::move(last_stderr), std::move(hint)};
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
