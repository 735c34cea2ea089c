#include "mobula/data/plan/worker_steps.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <limits>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/core/runtime.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/operators/reported_rows.hpp"
#include "mobula/data/plan/pipeline.hpp"
#include "mobula/data/plan/plan.hpp"
#include "mobula/data/preprocess/known_library.hpp"
#include "mobula/data/rows/map_actors.hpp"
#include "mobula/data/rows/row_numbers.hpp"
#include "mobula/data/rows/worker_directory.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

constexpr const char* kOrigin = "workers";

/// The rows of a batch that a worker got, which knows no more of them than their number.
class RowsOfBatch : public RowOrigin {
 public:
  std::string describe(std::int64_t row) const override { return std::to_string(row); }
};

/// Gathers rows, and which rows of the batch they were made of.
class GatherSink : public Sink {
 public:
  std::string describe() const override { return "gather"; }
  void open(const std::shared_ptr<arrow::Schema>& schema) override { schema_ = schema; }
  bool consume(std::unique_ptr<Prepared> prepared) override {
    Block block = std::move(static_cast<PreparedBlock&>(*prepared).block);
    if (block.origin == nullptr) known_ = false;
    for (std::int64_t row = 0; known_ && row < block.batch->num_rows(); ++row) rows_.push_back(block.number_of(row));
    batches_.push_back(std::move(block.batch));
    return true;
  }
  RecordBatchPointer result() const {
    auto batch = combine_batches(batches_, schema_);
    return known_ ? with_row_numbers(batch, rows_) : batch;
  }

 private:
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<RecordBatchPointer> batches_;
  std::vector<std::int64_t> rows_;
  bool known_ = true;
};

}  // namespace

/// Runs a list of steps over one batch after the other.
class StepsWorker {
 public:
  StepsWorker(std::string steps, const std::string& library, const std::string& directory) : steps_(std::move(steps)) {
    load_known_library(library);
    enter_working_directory(directory);
  }
  RecordBatchPointer operator()(const RecordBatchPointer& batch) const {
    const Dataset input(std::make_shared<SourceNode>([batch](const PlanContext&) {
      return open_blocks(batch->schema(), {Block{batch, nullptr, std::make_shared<RowsOfBatch>()}});
    }));
    PlanContext context;
    context.num_threads = 1;  // the batch is one of many that are worked on side by side
    // Whoever sent the batch decides what becomes of bad rows.
    const ErrorPolicy all{.max_skipped = std::numeric_limits<std::int64_t>::max()};
    context.bad_rows = std::make_shared<BadRows>(all, std::make_shared<BadRows>(all));
    GatherSink gathered;
    run_plan(*apply_plain_steps(input, steps_, kOrigin).plan(), gathered, context);
    return with_bad_rows(gathered.result(), context.bad_rows->lines());
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
      with_variables(steps, kOrigin), known_library(), working_directory());
}

}  // namespace mobula::data
