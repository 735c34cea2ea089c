/// Requests to web services: bounded, retried, with the token sent to nobody but the service.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace mobula::http {

struct HttpResponse {
  long status = 0;
  std::map<std::string, std::string> headers;  ///< names in lower case; of the last response
  std::string body;
};

struct HttpRequest {
  std::string url;
  std::string method = "GET";                     ///< HEAD, POST, PUT ...
  std::string body;                               ///< sent with POST and PUT
  std::string content_type = "application/json";  ///< of `body`
  bool follow = true;                             ///< follow redirects
  std::uint64_t from = 0;                         ///< first byte wanted
  std::size_t max_body = std::size_t{64} << 20;   ///< of a body that is kept
  /// Receives the body in pieces where set, after `begin` has seen the response's status and headers.
  std::function<void(std::string_view piece)> write;
  std::function<void(const HttpResponse& response)> begin;
};

/// One connection, reused. Not thread-safe.
class HttpClient {
 public:
  /// `token` may be empty. It goes to the host of each request's URL, and never to where that redirects.
  /// `hint`: what to look at where nobody answers.
  explicit HttpClient(std::string token, std::string hint = "check the network");
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  /// Sends a request once. Throws Error(unavailable) where no whole answer came: no connection, a body cut off.
  HttpResponse send(const HttpRequest& request);
  /// Sends a request that is safe to repeat, again after 429, after 5xx and after what send() throws: at most five times,
  /// after as long as Retry-After says, up to a minute, or twice as long each time.
  HttpResponse send_patiently(const std::function<HttpRequest()>& make_request);

 private:
  void* curl_;
  std::string token_;
  std::string hint_;
};

/// Returns `text` with all but letters, digits and -_.~ written as %XX: one segment of a URL's path.
std::string percent_encode(std::string_view text);

/// Returns how long to wait before the next attempt: what the header says in seconds, at most a minute, else 0.5 s doubled
/// with each attempt.
double retry_delay_seconds(const std::optional<std::string>& retry_after, int attempt);

}  // namespace mobula::http
