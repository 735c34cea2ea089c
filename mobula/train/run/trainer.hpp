/// Runs a train function on worker processes, and keeps it running when they die.
///
///     void train(mobula::train::TrainContext& context) {
///       for (int step = 1; step <= 100; ++step) {
///         std::vector<float> gradient = compute(step, context.rank(), context.size());
///         context.ranks().all_reduce_sum(gradient);
///         if (context.rank() == 0) context.report_step(step, {{"loss", loss}});
///       }
///       if (context.rank() == 0) context.set_result({{"steps", 100}});
///     }
///     Json result = Trainer(train, {.workers = 2}, {.directory = "runs/first", .steps = 100}).fit();
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/train/run/config.hpp"
#include "mobula/train/run/context.hpp"

namespace mobula {
class Runtime;
}
namespace mobula::track {
class Run;
}

namespace mobula::train {

/// What every worker runs: a plain function or captureless lambda of the program or of a library it loaded. It goes on
/// from what an earlier start left in the folder.
using TrainFunction = void (*)(TrainContext&);

struct RunOptions {
  std::filesystem::path directory;  ///< the run's folder; made where it is missing
  std::string argument;             ///< bytes that every worker gets
  std::int64_t steps = 0;           ///< how many steps the function will report, for the progress bar; 0: unknown
  Runtime* runtime = nullptr;       ///< where the workers run, all on one node of its cluster; null: on this machine
  track::Run* tracker = nullptr;    ///< takes the reported values; outlives fit()
  std::vector<std::pair<std::string, std::string>> environment;  ///< set in the workers only
};

/// Drives one run. The calling process computes nothing and loads no libtorch.
class Trainer {
 public:
  /// Throws Error(invalid_argument) where a field of `scaling` is out of range.
  Trainer(TrainFunction function, ScalingConfig scaling, RunOptions options);
  ~Trainer();

  /// Runs the function to its end and returns its result, with "restarts" added. While it runs, SIGINT and SIGTERM ask
  /// the workers to save their state and stop; a second one ends them at once.
  ///
  /// A worker that dies takes the others with it, and all are started anew. Throws Error(worker_died) that names rank,
  /// signal or exit code and last lines when that happened scaling.max_restarts times without a new step, the worker's own
  /// Error (rank named in the message) when the function threw, Error(interrupted) when stopped on request.
  Json fit();

  /// Returns how often the workers were started anew.
  int restarts() const noexcept { return restarts_; }

 private:
  struct Watch;

  TrainFunction function_;
  ScalingConfig scaling_;
  RunOptions options_;
  int restarts_ = 0;
};

}  // namespace mobula::train
