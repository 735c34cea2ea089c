#include "mobula/jobs/job_client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/jobs/runtime_environment.hpp"

namespace mobula::jobs {
namespace {

constexpr std::size_t kMaxLogBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxId = 256;

/// Returns what an answer that is no success says: the last exception of Python's tracebacks, which may hold one another,
/// or else the first line.
std::string reason_of(std::string_view text) {
  constexpr std::size_t kMost = 500;
  std::string_view reason;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const auto name = line.substr(0, line.find(": "));
    const bool exception = name.size() < line.size() && name.find(' ') == std::string_view::npos &&
                           (name.ends_with("Error") || name.ends_with("Exception"));
    if (exception && line.find("Traceback") == std::string_view::npos) reason = line.substr(name.size() + 2);
  }
  if (reason.empty()) reason = text.substr(0, text.find('\n'));
  return std::string(reason.substr(0, kMost));
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

template <class T>
std::optional<T> number_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  return found->get<T>();
}

JobInfo job_of(Json fields) {
  JobInfo info;
  info.submitted = text_of(fields, "type") != "DRIVER";
  info.id = text_of(fields, info.submitted ? "submission_id" : "job_id");
  info.status = text_of(fields, "status");
  info.entrypoint = text_of(fields, "entrypoint");
  info.message = text_of(fields, "message");
  info.error_type = text_of(fields, "error_type");
  info.start_ms = number_of<std::int64_t>(fields, "start_time");
  info.end_ms = number_of<std::int64_t>(fields, "end_time");
  info.exit_code = number_of<int>(fields, "driver_exit_code");
  if (fields.contains("runtime_env")) fields["runtime_env"] = redacted(fields["runtime_env"]);
  info.fields = std::move(fields);
  return info;
}

/// Refuses an id that would be another path of the URL.
const std::string& checked(const std::string& id) {
  const bool good =
      !id.empty() && id.size() <= kMaxId && id != "." && id != ".." &&
      std::all_of(id.begin(), id.end(), [](unsigned char c) {
        return c > ' ' && c < 0x7f && std::string_view("/\\?#%").find(static_cast<char>(c)) == std::string_view::npos;
      });
  if (!good) throw_invalid(fmt::format("'{}' is no id of a job", id), "letters, digits, '-', '_' and '.', at most 256");
  return id;
}

}  // namespace

JobClient::JobClient(JobAddress address, std::string token)
    : address_(std::move(address)),
      token_(token),
      http_(std::move(token),
            "see that the head's dashboard runs there (ray start --head --include-dashboard=true; port 8265)") {}

http::HttpResponse JobClient::send(http::HttpRequest request) {
  request.url = address_.url() + request.url;
  request.follow = false;
  http::HttpResponse response = http_.send(request);
  if (response.status == 401 || response.status == 403) {
    throw Error(ErrorCode::unavailable,
                fmt::format("{} wants {} token", address_.url(), token_.empty() ? "a" : "another"),
                "set RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token to the cluster's");
  }
  return response;
}

Json JobClient::call(http::HttpRequest request, const std::string& id) {
  const std::string path = request.url;
  const http::HttpResponse response = send(std::move(request));
  const std::string reason = reason_of(response.body);
  if (response.status == 404 && !id.empty() && reason.find(id) != std::string::npos) {
    throw Error(ErrorCode::not_found, fmt::format("{} knows no job '{}'", address_.url(), id),
                fmt::format("mobula job list --address {}", address_.url()));
  }
  if (reason.find("already exists") != std::string::npos) {
    throw Error(ErrorCode::already_exists, reason, "choose another --submission-id, or leave it away");
  }
  const auto type = response.headers.find("content-type");
  const bool json = type != response.headers.end() && type->second.starts_with("application/json");
  if (response.status == 404 || (response.status == 200 && !json)) {
    throw Error(ErrorCode::unavailable, fmt::format("{} answers, but is no Ray dashboard", address_.url()),
                "give --address the head's dashboard: http://HOST:8265");
  }
  if (response.status != 200) {
    const ErrorCode code = response.status == 400 ? ErrorCode::invalid_argument : ErrorCode::unavailable;
    throw Error(code, fmt::format("{} refuses {} with status {}: {}", address_.url(), path, response.status, reason),
                response.status == 400 ? "" : "see dashboard.log in the logs of Ray's session on the head");
  }
  return parse_json(response.body, address_.url() + path);
}

std::string JobClient::ray_version() {
  return text_of(call({.url = "/api/version"}), "ray_version");
}

bool JobClient::upload(const Package& package) {
  const std::string path = "/api/packages/gcs/" + http::percent_encode(package.name);
  http::HttpResponse response = send({.url = path});
  if (response.status == 200) return false;
  if (response.status != 404) {
    throw Error(ErrorCode::unavailable, fmt::format("{} can't tell whether it has the package: status {}: {}",
                                                    address_.url(), response.status, reason_of(response.body)));
  }
  response = send({.url = path, .method = "PUT", .body = package.bytes, .content_type = "application/octet-stream"});
  if (response.status == 413) {
    throw Error(ErrorCode::resource,
                fmt::format("{} takes no package of {} bytes", address_.url(), package.bytes.size()),
                "leave out what the job does not need: --exclude PATTERN");
  }
  if (response.status != 200) {
    throw Error(ErrorCode::unavailable, fmt::format("{} refuses the working directory with status {}: {}",
                                                    address_.url(), response.status, reason_of(response.body)));
  }
  return true;
}

std::string JobClient::submit(const JobRequest& request) {
  Json body = {{"entrypoint", request.entrypoint}, {"runtime_env", request.runtime_environment}};
  if (!request.submission_id.empty()) body["submission_id"] = checked(request.submission_id);
  if (!request.metadata.empty()) body["metadata"] = request.metadata;
  if (request.num_cpus) body["entrypoint_num_cpus"] = *request.num_cpus;
  if (request.num_gpus) body["entrypoint_num_gpus"] = *request.num_gpus;
  if (request.memory) body["entrypoint_memory"] = *request.memory;
  if (!request.resources.empty()) body["entrypoint_resources"] = request.resources;
  const Json answer = call({.url = "/api/jobs/", .method = "POST", .body = to_line(body)});
  std::string id = text_of(answer, "submission_id");
  if (id.empty()) throw Error(ErrorCode::corrupt, fmt::format("{} names no job that it started", address_.url()));
  return id;
}

JobInfo JobClient::info(const std::string& id) {
  return job_of(call({.url = "/api/jobs/" + http::percent_encode(checked(id))}, id));
}

std::vector<JobInfo> JobClient::list() {
  const Json answer = call({.url = "/api/jobs/"});
  if (!answer.is_array()) throw Error(ErrorCode::corrupt, fmt::format("{} lists no jobs", address_.url()));
  std::vector<JobInfo> jobs;
  for (const Json& job : answer) jobs.push_back(job_of(job));
  std::ranges::stable_sort(jobs, {}, [](const JobInfo& job) { return job.start_ms.value_or(0); });
  return jobs;
}

std::string JobClient::logs(const std::string& id) {
  const Json answer =
      call({.url = "/api/jobs/" + http::percent_encode(checked(id)) + "/logs", .max_body = kMaxLogBytes}, id);
  return text_of(answer, "logs");
}

bool JobClient::stop(const std::string& id) {
  const Json answer = call({.url = "/api/jobs/" + http::percent_encode(checked(id)) + "/stop", .method = "POST"}, id);
  const auto stopped = answer.find("stopped");
  return stopped != answer.end() && stopped->is_boolean() && stopped->get<bool>();
}

std::string own_ray_version() {
#ifdef MOBULA_RAY_VERSION
  return MOBULA_RAY_VERSION;
#else
  return {};
#endif
}

}  // namespace mobula::jobs
