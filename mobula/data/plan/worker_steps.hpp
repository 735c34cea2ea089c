/// Steps of a pipeline that run in workers of the runtime: threads, processes, or a cluster's nodes, as its engine says.
///
///     Runtime rt(argc, argv);                                         // --isolation process, --engine ray://...
///     auto decoded = run_in_workers(files, "- decode_image: {column: bytes, resize: 256}", {.max_actors = 4});
#pragma once

#include <cstdint>
#include <string>

#include "mobula/core/options.hpp"
#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// How the workers of a stage are made.
struct WorkerStepsOptions {
  int max_actors = 1;
  std::int64_t batch_size = 0;  ///< rows that go to a worker at a time; 0: blocks as they come
  /// Resources and isolation of each. One that dies is made anew and given its batch again, three times in all.
  ActorOptions actor{.max_restarts = 3, .max_task_retries = 3};
};

/// Runs steps, a list in YAML as in a pipeline, in actors of Runtime::current(), which must live while the dataset runs; the
/// order of rows is kept. Throws Error(invalid_argument) for steps that need other rows than those of a batch (sort, limit,
/// join ...), and while it runs Error(unavailable) where there is no runtime.
Dataset run_in_workers(const Dataset& dataset, std::string steps, WorkerStepsOptions options = {});

}  // namespace mobula::data
