/// Options of `mobula job submit|status|logs|stop|list`.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mobula::cli {

struct JobOptions {
  std::string address;  ///< empty: $RAY_API_SERVER_ADDRESS, $RAY_ADDRESS, this machine
  std::string id;
  bool follow = false;
  bool no_wait = false;
};

struct JobSubmitOptions {
  JobOptions job;
  std::vector<std::string> program;  ///< with its arguments
  std::string working_directory;
  std::vector<std::string> exclude;
  std::string runtime_environment;  ///< a file, or JSON
  std::vector<std::string> variables, metadata;
  std::string submission_id;
  std::optional<double> num_cpus, num_gpus;
  std::string memory, resources;
  /// The runtime's flags, as the job's variables: MOBULA_ENGINE ...
  std::vector<std::pair<std::string, std::string>> runtime;
};

}  // namespace mobula::cli
