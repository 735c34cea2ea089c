/// A request as the server read it, and an answer as a handler makes it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mobula::serve::http {

/// A whole request: its head and body are read, within the server's limits.
struct Request {
  std::string method;                                        ///< as sent: GET, POST, ...
  std::string path;                                          ///< the target up to "?", with %XX decoded
  std::string query;                                         ///< what follows "?", as sent
  std::vector<std::pair<std::string, std::string>> headers;  ///< names as sent
  std::string body;

  /// Returns the first header of that name, whatever its case.
  std::optional<std::string_view> header(std::string_view name) const;
};

/// A whole answer, or the head of a streamed one.
struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  ///< beside those the server writes itself
};

/// Splits a request's target into path and query. Nothing where its %XX escapes are broken or name the zero byte.
std::optional<std::pair<std::string, std::string>> split_target(std::string_view target);

}  // namespace mobula::serve::http
