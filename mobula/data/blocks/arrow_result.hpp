/// Turns Arrow's statuses into exceptions. Internal to this layer: includes Arrow.
#pragma once

#include <arrow/result.h>
#include <arrow/status.h>

#include <exception>
#include <string_view>
#include <utility>

#include "mobula/base/error.hpp"

namespace mobula::data {

/// Throws the Error that stands for a failed status; `what` (a file, an operator) leads its message.
[[noreturn]] void throw_status(const arrow::Status& status, std::string_view what);

/// Throws unless the status is fine.
inline void check(const arrow::Status& status, std::string_view what) {
  if (!status.ok()) [[unlikely]]
    throw_status(status, what);
}

/// Returns the result's value or throws.
template <class T>
T take(arrow::Result<T> result, std::string_view what) {
  if (!result.ok()) [[unlikely]]
    throw_status(result.status(), what);
  return std::move(result).ValueUnsafe();
}

/// Returns a status that carries an Error through Arrow's code; throw_status gives it back.
arrow::Status carrying(const Error& error);
/// Throws the Error that a status carries, if it does.
void rethrow_carried(const arrow::Status& status);

/// Makes Arrow's compute kernels known, once a process. Thread-safe.
void initialize_arrow();

}  // namespace mobula::data
