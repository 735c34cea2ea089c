#include "mobula/data/plan/worker_steps.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/core/runtime.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/plan/pipeline.hpp"
#include "mobula/data/plan/plan.hpp"
#include "mobula/data/preprocess/known_library.hpp"
#include "mobula/data/rows/map_actors.hpp"

namespace mobula::data {
namespace {

constexpr const char* kOrigin = "workers";

}  // namespace

/// Runs a list of steps over one batch after the other.
class StepsWorker {
 public:
  StepsWorker(std::string steps, const std::string& library) : steps_(std::move(steps)) { load_known_library(library); }
  RecordBatchPointer operator()(const RecordBatchPointer& batch) const {
    const Dataset rows = apply_steps(Dataset::from_batches({batch}), steps_, kOrigin);
    // The batch is one of many that are worked on side by side.
    const RunOptions options{.num_threads = 1};
    const auto schema = rows.schema(options);
    return combine_batches(rows.collect(options), schema);
  }

 private:
  std::string steps_;
};

Dataset run_in_workers(const Dataset& dataset, std::string steps, WorkerStepsOptions options) {
  if (options.max_actors <= 0) throw_invalid(fmt::format("workers: {} actors", options.max_actors));
  const auto empty = take(arrow::RecordBatch::MakeEmpty(arrow::schema({})), kOrigin);
  const std::string held = apply_steps(Dataset::from_batches({empty}), steps, kOrigin).plan()->holds_back();
  if (!held.empty()) {
    throw_invalid(fmt::format("workers: {} needs other rows than those of one batch", held),
                  "put it before or behind the workers");
  }
  return map_batches_actors<StepsWorker>(
      dataset, std::function<Runtime*()>([] { return &Runtime::current(); }),
      {.max_actors = options.max_actors, .actor = options.actor, .name = kOrigin, .batch_size = options.batch_size},
      std::move(steps), known_library());
}

}  // namespace mobula::data
