#include "mobula/http/http_client.hpp"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cmath>
#include <exception>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/base/version.hpp"

namespace mobula::http {
namespace {

constexpr int kMaxAttempts = 5;
constexpr double kLongestDelay = 60.0;
constexpr std::size_t kMaxHeaders = 1000, kMaxHeaderBytes = 64 << 10;

struct Transfer {
  const HttpRequest& request;
  HttpResponse response;
  CURL* curl = nullptr;
  bool begun = false;
  std::exception_ptr problem;
};

std::size_t take_header(char* data, std::size_t size, std::size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  const std::string_view line(data, size * count);
  if (line.starts_with("HTTP/")) {  // a new response: after a redirect, or after 100 Continue
    transfer.response.headers.clear();
    return line.size();
  }
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return line.size();
  if (transfer.response.headers.size() >= kMaxHeaders || line.size() > kMaxHeaderBytes) return 0;
  std::string name(line.substr(0, colon));
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && std::isspace(static_cast<unsigned char>(value.front()))) value.remove_prefix(1);
  while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back()))) value.remove_suffix(1);
  transfer.response.headers[name] = value;
  return line.size();
}

std::size_t take_body(char* data, std::size_t size, std::size_t count, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  const std::string_view piece(data, size * count);
  try {
    curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
    const bool good = transfer.response.status < 300;
    if (good && transfer.request.write) {
      if (!transfer.begun && transfer.request.begin) transfer.request.begin(transfer.response);
      transfer.begun = true;
      transfer.request.write(piece);
      return piece.size();
    }
    if (transfer.response.body.size() + piece.size() > transfer.request.max_body) {
      if (!good) return piece.size();  // an error's page: its beginning is enough
      throw Error(ErrorCode::corrupt, fmt::format("{}: the answer is longer than {} bytes", transfer.request.url,
                                                  transfer.request.max_body));
    }
    transfer.response.body += piece;
    return piece.size();
  } catch (...) {
    transfer.problem = std::current_exception();
    return 0;
  }
}

}  // namespace

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const unsigned char c : text) {
    const bool plain = (c < 0x80 && std::isalnum(c) != 0) || c == '-' || c == '_' || c == '.' || c == '~';
    out += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return out;
}

double retry_delay_seconds(const std::optional<std::string>& retry_after, int attempt) {
  if (retry_after) {
    int seconds = 0;
    const char* end = retry_after->data() + retry_after->size();
    const auto [rest, problem] = std::from_chars(retry_after->data(), end, seconds);
    if (problem == std::errc() && rest == end && seconds >= 0) return std::min<double>(seconds, kLongestDelay);
  }
  return std::min(0.5 * std::pow(2.0, attempt), kLongestDelay);
}

HttpClient::HttpClient(std::string token, std::string hint) : token_(std::move(token)), hint_(std::move(hint)) {
  static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  curl_ = global == CURLE_OK ? curl_easy_init() : nullptr;
  if (curl_ == nullptr) throw_internal("libcurl can't be started");
}

HttpClient::~HttpClient() {
  curl_easy_cleanup(curl_);
}

HttpResponse HttpClient::send(const HttpRequest& request) {
  CURL* curl = curl_;
  curl_easy_reset(curl);
  Transfer transfer{.request = request, .response = {}, .curl = curl, .problem = {}};
  char why[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, request.follow ? 1L : 0L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 10L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 20L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 60L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, fmt::format("mobula/{}", version()).c_str());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_slist* headers = nullptr;
  if (request.method == "HEAD") {
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  } else if (request.method == "POST" || request.method == "PUT") {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body.data());
    headers = curl_slist_append(headers, ("Content-Type: " + request.content_type).c_str());
    headers = curl_slist_append(headers, "Expect:");  // servers that don't know it cost a second
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  }
  if (request.method != "GET" && request.method != "HEAD" && request.method != "POST") {
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  if (request.from > 0) curl_easy_setopt(curl, CURLOPT_RANGE, fmt::format("{}-", request.from).c_str());
  if (!token_.empty()) {  // libcurl doesn't pass it on to another host
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, token_.c_str());
  }
  const CURLcode code = curl_easy_perform(curl);
  curl_slist_free_all(headers);
  if (transfer.problem) std::rethrow_exception(transfer.problem);
  if (code != CURLE_OK) {
    throw Error(ErrorCode::unavailable,
                fmt::format("{}: {}", request.url, *why != '\0' ? why : curl_easy_strerror(code)), hint_);
  }
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &transfer.response.status);
  return std::move(transfer.response);
}

HttpResponse HttpClient::send_patiently(const std::function<HttpRequest()>& make_request) {
  for (int attempt = 0;; ++attempt) {
    const bool last = attempt + 1 == kMaxAttempts;
    std::optional<std::string> after;
    std::string what;
    try {
      HttpResponse response = send(make_request());
      if ((response.status != 429 && response.status < 500) || last) return response;
      if (const auto found = response.headers.find("retry-after"); found != response.headers.end())
        after = found->second;
      what = fmt::format("HTTP {}", response.status);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::unavailable || last) throw;
      what = error.message();
    }
    const double delay = retry_delay_seconds(after, attempt);
    log_warning("{}; trying again in {:.1f} s", what, delay);
    std::this_thread::sleep_for(std::chrono::duration<double>(delay));
  }
}

}  // namespace mobula::http
