/// A Ray cluster of one node that belongs to this program: started for `ray://local`, ended with it.
#pragma once

#include <memory>
#include <string>

#include "mobula/base/files.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/core/engine.hpp"

namespace mobula {

/// Turns Ray's token authentication on in this process where a token is set (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH,
/// ~/.ray/auth_token), unless RAY_AUTH_MODE says otherwise; `make`: in any case, with a token of our own where there is
/// none. Comes before Ray's library is loaded.
void prepare_ray_token(bool make);

/// Returns the head's host:port for `ray://auto`: $RAY_ADDRESS, which a submitted job's program has, or else the cluster
/// that was started last on this machine. Throws Error(not_found) where there is neither.
std::string find_ray_address();

/// Starts a head with ports, a temporary folder and a token of its own, so that it and other clusters of the machine
/// don't know of each other. Its processes are a session of their own; they and no others are ended, also where this
/// program is killed.
class RayCluster {
 public:
  /// `ray_library`: path of Ray's library, beside which the rest of Ray lies. Returns once the head answers.
  /// Throws Error(unavailable).
  RayCluster(const std::string& ray_library, const RuntimeOptions& options);
  RayCluster(const RayCluster&) = delete;
  RayCluster& operator=(const RayCluster&) = delete;
  ~RayCluster();

  /// Returns the head's host:port.
  const std::string& address() const noexcept { return address_; }

 private:
  std::string last_output() const;

  TemporaryDirectory folder_;
  std::unique_ptr<Subprocess> head_;
  std::string address_;
};

}  // namespace mobula
