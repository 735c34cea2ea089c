/// How tests read what an Error says. For tests.
///
///     EXPECT_NE(refusal([&] { load(folder); }).find("model.safetensors"), std::string::npos);
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "mobula/base/error.hpp"

namespace mobula {

/// Returns the Error that `use()` throws, if any; any other exception passes through and fails the test. An error of
/// another code than `code` (if given) fails the test, too.
template <class Use>
std::optional<Error> thrown_error(Use&& use, std::optional<ErrorCode> code = {}) {
  try {
    use();
  } catch (const Error& error) {
    if (code) {
      EXPECT_EQ(to_string(error.code()), to_string(*code)) << error.message();
    }
    return error;
  }
  return std::nullopt;
}

/// Returns the message of what thrown_error() returns, or "accepted".
template <class Use>
std::string refusal(Use&& use, std::optional<ErrorCode> code = {}) {
  const std::optional<Error> error = thrown_error(use, code);
  return error ? error->message() : "accepted";
}

/// Returns "message | hint" of what thrown_error() returns, or "accepted".
template <class Use>
std::string refusal_with_hint(Use&& use, std::optional<ErrorCode> code = {}) {
  const std::optional<Error> error = thrown_error(use, code);
  return error ? error->message() + " | " + error->hint() : "accepted";
}

}  // namespace mobula
