/// `mobula train`: what its two halves, the driver in the program and the workers in the plugin, tell each other.
#pragma once

#include <string>
#include <vector>

#include "mobula/train/run/config.hpp"

namespace mobula::cli {

struct TrainOptions {
  std::string config;            ///< YAML file; empty: defaults, or the run's own with --resume
  std::string out;               ///< the run's folder
  std::string data;              ///< --data: the text
  std::vector<std::string> set;  ///< key=value
  bool resume = false;
  bool print_config = false;
};

/// Name of the plugin's entry that every worker calls; its options are the worker's train::TrainContext, whose argument is
/// the run's configuration as YAML.
inline constexpr const char* kTrainRankEntry = "mobula_run_train_rank";

}  // namespace mobula::cli
