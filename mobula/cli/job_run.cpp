#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/log.hpp"
#include "mobula/base/size.hpp"
#include "mobula/base/text_table.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/job.hpp"
#include "mobula/jobs/job_client.hpp"
#include "mobula/jobs/log_stream.hpp"
#include "mobula/jobs/runtime_environment.hpp"

namespace mobula::cli {
namespace {

using Clock = std::chrono::steady_clock;
using jobs::JobClient;
using jobs::JobInfo;

constexpr std::chrono::milliseconds kPoll{250};
constexpr std::chrono::seconds kPatience{60};  // with a head that doesn't answer while a job is watched
constexpr int kMaxCpus = 1 << 20;

std::atomic<bool> interrupted{false};

JobClient client_of(const JobOptions& options) {
  return {jobs::find_job_address(options.address), jobs::find_auth_token()};
}

/// Ctrl-C ends the waiting, never the job.
void watch_for_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = true; };
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

[[noreturn]] void throw_no_longer_waiting(const JobClient& client, const std::string& id) {
  throw Error(ErrorCode::cancelled, fmt::format("no longer waiting; job {} goes on at {}", id, client.address().url()),
              fmt::format("mobula job logs {} --follow, or: mobula job stop {}", id, id));
}

/// Asks how a job is doing, also where the head is away for a while.
JobInfo ask_patiently(JobClient& client, const std::string& id) {
  const auto give_up = Clock::now() + kPatience;
  for (bool told = false;; told = true) {
    try {
      return client.info(id);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::unavailable || Clock::now() > give_up) throw;
      if (!told) log_warning("{}; trying again for {} s", error.message(), kPatience.count());
    }
    for (auto wait = kPoll * 4; wait.count() > 0 && !interrupted; wait -= kPoll) std::this_thread::sleep_for(kPoll);
    if (interrupted) throw_no_longer_waiting(client, id);
  }
}

JobInfo wait_until_over(JobClient& client, const std::string& id) {
  for (;;) {
    JobInfo info = ask_patiently(client, id);
    if (info.over()) return info;
    std::this_thread::sleep_for(kPoll);
    if (interrupted) throw_no_longer_waiting(client, id);
  }
}

/// Prints what the job prints until it is over. Returns the job as it ended.
JobInfo follow(JobClient& client, const std::string& id, std::FILE* out) {
  jobs::LogStream stream(client.address(), client.token(), id);
  auto give_up = Clock::now() + kPatience;
  for (bool told = false;;) {
    const auto end = stream.follow(
        [&](std::string_view text) {
          std::fwrite(text.data(), 1, text.size(), out);
          std::fflush(out);
          give_up = Clock::now() + kPatience;
          told = false;
        },
        [] { return interrupted.load(); });
    if (end == jobs::LogStream::End::stopped) throw_no_longer_waiting(client, id);
    const JobInfo info = ask_patiently(client, id);
    if (info.over() && (end == jobs::LogStream::End::closed || Clock::now() > give_up)) return info;
    if (end == jobs::LogStream::End::broken) {
      if (Clock::now() > give_up) {
        throw Error(ErrorCode::unavailable, fmt::format("the log of job {} breaks off: {}", id, stream.problem()),
                    fmt::format("it goes on; see: mobula job status {}", id));
      }
      if (!told) log_warning("the log of job {} broke off ({}); connecting again", id, stream.problem());
      told = true;
    }
    std::this_thread::sleep_for(kPoll);
    if (interrupted) throw_no_longer_waiting(client, id);
  }
}

std::string duration_of(const JobInfo& info) {
  if (!info.start_ms) return "";
  const auto now =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  const std::int64_t end = info.end_ms.value_or(now.count());
  return format_duration(std::chrono::milliseconds(std::max<std::int64_t>(0, end - *info.start_ms)));
}

/// Returns the exit code of a command that waited for a job; throws the error of one that failed.
int result_of(const JobInfo& info) {
  if (info.status == "SUCCEEDED") {
    log_info("job {} succeeded after {}", info.id, duration_of(info));
    return 0;
  }
  if (info.status == "STOPPED") {
    throw Error(ErrorCode::cancelled, fmt::format("job {} was stopped after {}", info.id, duration_of(info)));
  }
  if (info.exit_code && *info.exit_code != 0) {
    const int code = *info.exit_code;
    const std::string how =
        code < 0 ? fmt::format("was ended by signal {}", -code) : fmt::format("ended with exit code {}", code);
    throw Error(ErrorCode::task_failed, fmt::format("job {} failed: its program {}", info.id, how),
                code == 127
                    ? "the program is not where the cluster looks for it: a path of the head, or one in --working-dir"
                    : fmt::format("mobula job logs {}", info.id));
  }
  throw Error(ErrorCode::task_failed, fmt::format("job {} failed: {}", info.id, info.message),
              fmt::format("mobula job logs {}", info.id));
}

bool is_uri(const std::string& text) {
  return text.find("://") != std::string::npos;
}

/// Sends a folder that is named in the runtime environment, and names the package there instead.
void send_working_directory(JobClient& client, Json& environment, const JobSubmitOptions& options) {
  if (!options.working_directory.empty()) environment["working_dir"] = options.working_directory;
  std::vector<std::string> exclude = options.exclude;
  if (const auto more = environment.find("excludes"); more != environment.end()) {
    if (!more->is_array()) throw_invalid("the runtime environment's excludes is no list");
    for (const Json& pattern : *more) {
      if (!pattern.is_string()) throw_invalid("the runtime environment's excludes holds something that is no text");
      exclude.push_back(pattern.get<std::string>());
    }
    environment.erase("excludes");
  }
  const auto folder = environment.find("working_dir");
  if (folder == environment.end() || folder->is_null()) return;
  if (!folder->is_string()) throw_invalid("the runtime environment's working_dir is no text");
  const auto path = folder->get<std::string>();
  if (is_uri(path)) return;
  const jobs::Package package = jobs::pack_working_directory(path, exclude);
  const bool sent = client.upload(package);
  log_info("{}: {} files, {}{}", path, package.num_files, format_size(package.bytes.size()),
           sent ? "" : ", there already");
  *folder = package.uri();
}

double checked_amount(double value, const char* option) {
  if (!(value >= 0) || value > kMaxCpus) throw_invalid(fmt::format("{} {}: expected a number from 0", option, value));
  return value;
}

jobs::JobRequest request_of(const JobSubmitOptions& options) {
  jobs::JobRequest request;
  request.entrypoint = jobs::shell_command(options.program);
  request.submission_id = options.submission_id;
  request.runtime_environment = jobs::read_runtime_environment(options.runtime_environment);
  for (const std::string& variable : options.variables) {
    const auto assignment = jobs::split_assignment(variable, "--env");
    jobs::set_job_variable(request.runtime_environment, assignment.first, assignment.second, true);
  }
  for (const auto& variable : options.runtime) {
    if (!variable.second.empty())
      jobs::set_job_variable(request.runtime_environment, variable.first, variable.second, false);
  }
  for (const std::string& text : options.metadata) {
    if (text.starts_with('{')) {
      const Json object = parse_json(text, "--metadata");
      for (const auto& item : object.items()) {
        if (!item.value().is_string())
          throw_invalid(fmt::format("--metadata: the value of '{}' is no text", item.key()));
        request.metadata[item.key()] = item.value().get<std::string>();
      }
    } else {
      const auto assignment = jobs::split_assignment(text, "--metadata");
      request.metadata[assignment.first] = assignment.second;
    }
  }
  if (options.num_cpus) request.num_cpus = checked_amount(*options.num_cpus, "--entrypoint-num-cpus");
  if (options.num_gpus) request.num_gpus = checked_amount(*options.num_gpus, "--entrypoint-num-gpus");
  if (!options.memory.empty()) request.memory = parse_size(options.memory);
  if (!options.resources.empty()) {
    const Json resources = parse_json(options.resources, "--entrypoint-resources");
    if (!resources.is_object()) throw_invalid("--entrypoint-resources: expected a JSON object, such as {\"name\": 1}");
    for (const auto& item : resources.items()) {
      if (!item.value().is_number())
        throw_invalid(fmt::format("--entrypoint-resources: '{}' is no number", item.key()));
      request.resources[item.key()] = checked_amount(item.value().get<double>(), "--entrypoint-resources");
    }
  }
  return request;
}

int submit(const JobSubmitOptions& options, const GlobalOptions& globals) {
  jobs::JobRequest request = request_of(options);
  JobClient client = client_of(options.job);
  const std::string theirs = client.ray_version();
  if (const std::string ours = jobs::own_ray_version(); !ours.empty() && theirs != ours) {
    log_warning("the cluster runs Ray {}, this build speaks Ray {}: a program of this build can't connect", theirs,
                ours);
  }
  send_working_directory(client, request.runtime_environment, options);
  watch_for_interrupt();
  const std::string id = client.submit(request);
  if (options.job.no_wait) {
    fmt::print("{}\n", globals.json ? to_line({{"submission_id", id}, {"address", client.address().url()}}) : id);
    return 0;
  }
  log_info("job {} is submitted to {}", id, client.address().url());
  const JobInfo info = follow(client, id, globals.json ? stderr : stdout);
  if (globals.json) fmt::print("{}\n", to_line(info.fields));
  return result_of(info);
}

int status(const JobOptions& options, const GlobalOptions& globals) {
  JobClient client = client_of(options);
  const JobInfo info = client.info(options.id);
  if (globals.json) {
    fmt::print("{}\n", to_line(info.fields));
    return 0;
  }
  fmt::print("{}: {}{}\n", info.id, info.status, info.start_ms ? ", " + duration_of(info) : "");
  fmt::print("  runs     {}\n", info.entrypoint);
  if (info.exit_code) fmt::print("  exited   with code {}\n", *info.exit_code);
  if (!info.error_type.empty()) fmt::print("  error    {}\n", info.error_type);
  if (!info.message.empty()) fmt::print("  message  {}\n", info.message);
  return 0;
}

int logs(const JobOptions& options, const GlobalOptions& globals) {
  JobClient client = client_of(options);
  if (!options.follow) {
    const std::string text = client.logs(options.id);
    if (globals.json) {
      fmt::print("{}\n", to_line({{"submission_id", options.id}, {"logs", text}}));
    } else {
      std::fwrite(text.data(), 1, text.size(), stdout);
    }
    return 0;
  }
  const JobInfo before = client.info(options.id);  // an unknown job is told at once
  watch_for_interrupt();
  const JobInfo info = follow(client, before.id, globals.json ? stderr : stdout);
  if (globals.json) fmt::print("{}\n", to_line(info.fields));
  return result_of(info);
}

int stop(const JobOptions& options, const GlobalOptions& globals) {
  JobClient client = client_of(options);
  const bool asked = client.stop(options.id);
  watch_for_interrupt();
  const JobInfo info = options.no_wait ? client.info(options.id) : wait_until_over(client, options.id);
  if (globals.json) {
    fmt::print("{}\n", to_line({{"submission_id", info.id}, {"stopped", asked}, {"status", info.status}}));
  } else if (!asked) {
    fmt::print("{} is over already: {}\n", info.id, info.status);
  } else {
    fmt::print("{}: {}\n", info.id, info.over() ? info.status : "is being stopped");
  }
  return 0;
}

int list(const JobOptions& options, const GlobalOptions& globals) {
  JobClient client = client_of(options);
  const std::vector<JobInfo> all = client.list();
  if (globals.json) {
    Json array = Json::array();
    for (const JobInfo& info : all) array.push_back(info.fields);
    fmt::print("{}\n", to_line(array));
    return 0;
  }
  TextTable table({"ID", "STATUS", "STARTED", "TIME", "PROGRAM"});
  for (const JobInfo& info : all) {
    std::string started;
    if (info.start_ms) {
      const std::time_t seconds = *info.start_ms / 1000;
      std::tm local{};
      ::localtime_r(&seconds, &local);
      char text[32];
      started.assign(text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local));
    }
    table.add_row(
        {info.id, info.status, started, duration_of(info), info.submitted ? info.entrypoint : "(not submitted)"});
  }
  fmt::print("{}", table.to_string());
  return 0;
}

const GlobalOptions& global(const void* globals) {
  return *static_cast<const GlobalOptions*>(globals);
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_job_submit(const void* options, const void* globals) {
  return mobula::cli::submit(*static_cast<const mobula::cli::JobSubmitOptions*>(options), mobula::cli::global(globals));
}
extern "C" int mobula_run_job_status(const void* options, const void* globals) {
  return mobula::cli::status(*static_cast<const mobula::cli::JobOptions*>(options), mobula::cli::global(globals));
}
extern "C" int mobula_run_job_logs(const void* options, const void* globals) {
  return mobula::cli::logs(*static_cast<const mobula::cli::JobOptions*>(options), mobula::cli::global(globals));
}
extern "C" int mobula_run_job_stop(const void* options, const void* globals) {
  return mobula::cli::stop(*static_cast<const mobula::cli::JobOptions*>(options), mobula::cli::global(globals));
}
extern "C" int mobula_run_job_list(const void* options, const void* globals) {
  return mobula::cli::list(*static_cast<const mobula::cli::JobOptions*>(options), mobula::cli::global(globals));
}
