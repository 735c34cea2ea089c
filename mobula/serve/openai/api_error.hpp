/// Refusals in the shape of OpenAI's API: {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "mobula/serve/http/message.hpp"

namespace mobula::serve::openai {

/// A request that is refused, and how.
class ApiError : public std::exception {
 public:
  /// `param` names the field at fault, `code` the reason for programs; both may be empty (null in the answer).
  ApiError(int status, std::string message, std::string param = {}, std::string code = {});

  int status() const noexcept { return status_; }
  const std::string& message() const noexcept { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }
  /// Returns the answer's JSON body.
  std::string body() const;
  http::Response to_response() const;

 private:
  int status_;
  std::string message_;
  std::string param_;
  std::string code_;
};

/// Makes an ApiError of any exception: what the caller did wrong is told, what went wrong inside is logged instead.
ApiError to_api_error(const std::exception& error);

}  // namespace mobula::serve::openai
