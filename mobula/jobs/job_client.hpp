/// Ray's Jobs API over HTTP: programs that run on a cluster, started from anywhere.
///
///     JobClient client(find_job_address("http://head:8265"), find_auth_token());
///     const std::string id = client.submit({.entrypoint = "build/bin/pi"});
///     while (!client.info(id).over()) ...
///
/// REST API: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/http/http_client.hpp"
#include "mobula/jobs/job_address.hpp"
#include "mobula/jobs/package.hpp"

namespace mobula::jobs {

/// A job to be started.
struct JobRequest {
  std::string entrypoint;     ///< a command for the shell of a node
  std::string submission_id;  ///< empty: the cluster makes one
  Json runtime_environment = Json::object();
  std::map<std::string, std::string> metadata;
  // What the program itself takes from its node, beside its tasks and actors.
  std::optional<double> num_cpus, num_gpus;
  std::optional<std::uint64_t> memory;  ///< bytes
  std::map<std::string, double> resources;
};

/// A job as the cluster knows it.
struct JobInfo {
  std::string id;         ///< the submission's; of programs that were not submitted, the driver's
  bool submitted = true;  ///< false: a program that connected by itself
  std::string status;     ///< PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED
  std::string entrypoint, message, error_type;
  std::optional<std::int64_t> start_ms, end_ms;  ///< since 1970
  std::optional<int> exit_code;
  Json fields;  ///< all that the cluster tells, but for the values of variables

  bool over() const { return status == "SUCCEEDED" || failed(); }
  bool failed() const { return status == "FAILED" || status == "STOPPED"; }
};

/// One connection to a cluster's dashboard. Not thread-safe. Every function throws Error(unavailable) where nobody
/// answers, the token is wrong, or something else answers; Error(not_found) for an unknown job.
class JobClient {
 public:
  JobClient(JobAddress address, std::string token);

  const JobAddress& address() const noexcept { return address_; }
  const std::string& token() const noexcept { return token_; }

  /// Returns the cluster's version of Ray.
  std::string ray_version();
  /// Brings a package to the cluster; false where it has it already.
  bool upload(const Package& package);
  /// Starts a job and returns its id. Throws Error(already_exists) for an id that is taken.
  std::string submit(const JobRequest& request);
  JobInfo info(const std::string& id);
  /// Lists the cluster's jobs, the newest last.
  std::vector<JobInfo> list();
  /// Returns what the job's program has printed so far.
  std::string logs(const std::string& id);
  /// Asks the job's processes to end (SIGTERM, and SIGKILL later); false where it is over already.
  bool stop(const std::string& id);

 private:
  http::HttpResponse send(http::HttpRequest request);
  Json call(http::HttpRequest request, const std::string& id = {});

  JobAddress address_;
  std::string token_;
  http::HttpClient http_;
};

/// Returns the version of Ray that this build speaks; empty where it has no Ray engine.
std::string own_ray_version();

}  // namespace mobula::jobs
