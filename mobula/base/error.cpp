#include "mobula/base/error.hpp"

#include <fmt/format.h>

#include <cstring>

namespace mobula {

struct Error::State {
  ErrorCode code;
  std::string message;
  std::string hint;
  std::vector<std::string> trace;
  std::exception_ptr cause;
};

std::string_view to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::already_exists:
      return "already_exists";
    case ErrorCode::corrupt:
      return "corrupt";
    case ErrorCode::io:
      return "io";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::resource:
      return "resource";
    case ErrorCode::timeout:
      return "timeout";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::worker_died:
      return "worker_died";
    case ErrorCode::task_failed:
      return "task_failed";
    case ErrorCode::object_lost:
      return "object_lost";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::interrupted:
      return "interrupted";
    case ErrorCode::internal:
      return "internal";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string message, std::string hint)
    : state_(std::make_shared<State>(State{code, std::move(message), std::move(hint), {}, {}})) {}

ErrorCode Error::code() const noexcept {
  return state_->code;
}
const std::string& Error::message() const noexcept {
  return state_->message;
}
const std::string& Error::hint() const noexcept {
  return state_->hint;
}
const std::vector<std::string>& Error::trace() const noexcept {
  return state_->trace;
}
std::exception_ptr Error::cause() const noexcept {
  return state_->cause;
}
const char* Error::what() const noexcept {
  return state_->message.c_str();
}

Error& Error::with_context(std::string where) {
  state_->trace.push_back(std::move(where));
  return *this;
}

Error& Error::caused_by(std::exception_ptr cause) {
  state_->cause = std::move(cause);
  return *this;
}

void throw_invalid(std::string message, std::string hint) {
  throw Error(ErrorCode::invalid_argument, std::move(message), std::move(hint));
}

void throw_io(std::string_view what, int error_number, std::string hint) {
  if (hint.empty() && error_number == ENOSPC) hint = "free some space on that disk, or choose another folder";
  throw Error(ErrorCode::io, fmt::format("{}: {}", what, std::strerror(error_number)), std::move(hint));
}

void throw_internal(std::string message) {
  throw Error(ErrorCode::internal, std::move(message), "this is a bug in Mobula: please report it");
}

int exit_code(ErrorCode code) noexcept {
  if (code == ErrorCode::invalid_argument) return 2;
  if (code == ErrorCode::interrupted) return 75;
  return 1;
}

std::string describe(const std::exception& error) {
  const auto* own = dynamic_cast<const Error*>(&error);
  std::string text;
  if (own != nullptr) {
    for (const std::string& line : own->trace()) text += fmt::format("  at {}\n", line);
  }
  text += fmt::format("error: {}\n", error.what());
  if (own != nullptr && !own->hint().empty()) text += fmt::format("hint: {}\n", own->hint());
  return text;
}

}  // namespace mobula
