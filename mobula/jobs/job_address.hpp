/// Where a Ray cluster takes jobs, and the token it wants.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mobula::jobs {

/// The address of a head's dashboard: http(s)://HOST:PORT, with a path where a proxy serves it under one.
struct JobAddress {
  bool tls = false;
  std::string host;
  std::uint16_t port = 8265;
  std::string path;  ///< without a slash at the end

  /// Returns it as a URL, without a slash at the end.
  std::string url() const;
};

/// Reads an address: a URL, or HOST[:PORT]. Throws Error(invalid_argument), also for the address of something else
/// (ray://, HOST:6379).
JobAddress parse_job_address(std::string_view text);

/// Returns the address that is meant: `given`, else $RAY_API_SERVER_ADDRESS, else $RAY_ADDRESS, else this machine's.
JobAddress find_job_address(const std::string& given);

/// Returns the cluster's token as Ray's own programs find it: $RAY_AUTH_TOKEN, the file $RAY_AUTH_TOKEN_PATH, or
/// ~/.ray/auth_token; empty where there is none, or RAY_AUTH_MODE=disabled. Throws Error(not_found) for a named file that
/// is missing.
std::string find_auth_token();

}  // namespace mobula::jobs
