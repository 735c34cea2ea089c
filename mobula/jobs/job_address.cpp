#include "mobula/jobs/job_address.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"

namespace mobula::jobs {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxToken = 64 << 10;
constexpr const char* kHint = "write the head's dashboard: http://HOST:8265";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string trimmed(std::string text) {
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.pop_back();
  const auto first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? std::string() : text.substr(first);
}

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
  throw_invalid(fmt::format("'{}' is no address of a Ray dashboard: {}", text, why), kHint);
}

}  // namespace

std::string JobAddress::url() const {
  return fmt::format("{}://{}:{}{}", tls ? "https" : "http", host, port, path);
}

JobAddress parse_job_address(std::string_view text) {
  JobAddress address;
  std::string_view rest = text;
  bool has_scheme = false;
  if (const auto mark = text.find("://"); mark != std::string_view::npos) {
    const std::string_view scheme = text.substr(0, mark);
    if (scheme == "ray") refuse(text, "ray:// is where programs connect to");
    if (scheme != "http" && scheme != "https") refuse(text, fmt::format("the scheme '{}' is unknown", scheme));
    address.tls = scheme == "https";
    address.port = address.tls ? 443 : 80;
    has_scheme = true;
    rest = text.substr(mark + 3);
  }
  const auto slash = rest.find('/');
  if (slash != std::string_view::npos) {
    address.path = rest.substr(slash);
    while (!address.path.empty() && address.path.back() == '/') address.path.pop_back();
    rest = rest.substr(0, slash);
  }
  for (const unsigned char c : text) {
    if (c <= ' ' || c == '?' || c == '#' || c == '@' || c >= 0x7f)
      refuse(text, "it has characters that belong in none");
  }
  // [::1]:8265 has colons before its port's.
  const auto bracket = rest.rfind(']');
  const auto colon = rest.rfind(':');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    const std::string_view digits = rest.substr(colon + 1);
    const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
    if (problem != std::errc() || end != digits.data() + digits.size() || address.port == 0) {
      refuse(text, fmt::format("'{}' is no port", digits));
    }
    rest = rest.substr(0, colon);
  } else if (!has_scheme) {
    address.port = 8265;
  }
  if (rest.empty()) refuse(text, "it names no host");
  if (!has_scheme && address.port == 6379) refuse(text, "6379 is the port where nodes and programs connect to");
  address.host = rest;
  return address;
}

JobAddress find_job_address(const std::string& given) {
  if (!given.empty()) return parse_job_address(given);
  for (const char* name : {"RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"}) {
    const std::string value = variable(name);
    if (value.empty() || value == "auto" || value == "local") continue;
    try {
      return parse_job_address(value);
    } catch (const Error& error) {
      throw_invalid(fmt::format("{}: {}", name, error.message()), "give --address http://HOST:8265");
    }
  }
  return parse_job_address("http://127.0.0.1:8265");
}

std::string find_auth_token() {
  if (variable("RAY_AUTH_MODE") == "disabled") return {};
  if (std::string token = trimmed(variable("RAY_AUTH_TOKEN")); !token.empty()) return token;
  if (const std::string path = variable("RAY_AUTH_TOKEN_PATH"); !path.empty()) {
    return trimmed(read_file(path, kMaxToken));
  }
  const std::string home = variable("HOME");
  if (home.empty()) return {};
  const fs::path path = fs::path(home) / ".ray" / "auth_token";
  std::error_code unreadable;
  return fs::exists(path, unreadable) ? trimmed(read_file(path, kMaxToken)) : std::string();
}

}  // namespace mobula::jobs
