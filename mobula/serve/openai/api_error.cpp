#include "mobula/serve/openai/api_error.hpp"

#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/log.hpp"

namespace mobula::serve::openai {
namespace {

std::string_view type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

Json or_null(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}

}  // namespace

ApiError::ApiError(int status, std::string message, std::string param, std::string code)
    : status_(status), message_(std::move(message)), param_(std::move(param)), code_(std::move(code)) {}

std::string ApiError::body() const {
  return to_line(
      {{"error",
        {{"message", message_}, {"type", type_of(status_)}, {"param", or_null(param_)}, {"code", or_null(code_)}}}});
}

http::Response ApiError::to_response() const {
  http::Response response{.status = status_, .body = body()};
  if (status_ == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (status_ == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

ApiError to_api_error(const std::exception& error) {
  if (const auto* refusal = dynamic_cast<const ApiError*>(&error)) return *refusal;
  if (const auto* known = dynamic_cast<const Error*>(&error)) {
    switch (known->code()) {
      case ErrorCode::invalid_argument:
      case ErrorCode::unsupported:
        return {400, known->message()};
      case ErrorCode::corrupt:
        return {400, known->message(), {}, "invalid_json"};
      case ErrorCode::resource:
      case ErrorCode::unavailable:
        return {503, known->message()};
      default:
        break;
    }
  }
  log_error("a request failed: {}", error.what());
  return {500, "the server failed; its log says more"};
}

}  // namespace mobula::serve::openai
