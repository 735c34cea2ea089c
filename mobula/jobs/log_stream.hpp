/// A job's output as it comes: the dashboard's WebSocket.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "mobula/jobs/job_address.hpp"

namespace mobula::jobs {

/// Follows what a job's program prints, from its first line. Where the connection breaks, follow() connects again and
/// gives on only what is new.
class LogStream {
 public:
  LogStream(JobAddress address, std::string token, std::string id);

  enum class End {
    closed,   ///< by the cluster: the job is over, or its node is going
    broken,   ///< the connection is lost, or there never was one
    stopped,  ///< `stop` said so
  };
  /// Calls `use` with each piece of text. `stop` is asked several times a second. Blocks until the stream ends.
  End follow(const std::function<void(std::string_view)>& use, const std::function<bool()>& stop);
  /// Says why the last follow() ended as `broken`.
  const std::string& problem() const noexcept { return problem_; }

 private:
  JobAddress address_;
  std::string token_;
  std::string id_;
  std::uint64_t given_ = 0;  // bytes that `use` has seen
  std::string problem_;
};

}  // namespace mobula::jobs
