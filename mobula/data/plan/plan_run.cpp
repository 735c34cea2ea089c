#include "mobula/data/plan/plan_run.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

#include "mobula/base/files.hpp"
#include "mobula/base/memory_limit.hpp"
#include "mobula/data/plan/row_tracks.hpp"

namespace mobula::data {

PlanContext context_of(const RunOptions& options) {
  PlanContext context;
  // Code, libraries and blocks under way take their share of the process before operators that hold rows may.
  constexpr std::uint64_t kShare = std::uint64_t{96} << 20;
  const std::uint64_t memory =
      options.memory > 0 ? options.memory : std::max(memory_limit() / 4, std::uint64_t{256} << 20);
  context.memory = memory > 2 * kShare ? memory - kShare : memory / 2;
  context.disk = options.disk;
  context.spill_directory = options.spill_directory;
  context.num_threads = options.num_threads;
  context.ordered = options.ordered;
  context.token_column = options.token_column;
  context.counts_sources = true;
  if (options.row_origins || !options.manifest.empty() || !options.on_error.dead_letter.empty())
    context.tracks = std::make_shared<RowTracks>();
  context.bad_rows = std::make_shared<BadRows>(options.on_error);
  return context;
}

RunFigures run_once(const PlanNode& plan, Sink& sink, const RunOptions& options, std::shared_ptr<BadRows> bad_rows,
                    PartSource part) {
  PlanContext context = context_of(options);
  context.bad_rows = std::move(bad_rows);
  if (part != nullptr) context.ordered = true;
  context.part = std::move(part);
  RunResult result;
  const Watcher watcher(options, [statistics = context.statistics] { return statistics->to_json(); });
  result.rows = run_plan(plan, sink, context);
  result.skipped = context.bad_rows->num_skipped();
  result.statistics = context.statistics->to_json();
  return {std::move(result), context.statistics};
}

void write_manifest(const RunResult& result, const RunOptions& options) {
  if (options.manifest.empty()) return;
  const Json manifest = {
      {"rows", result.rows + result.rows_before}, {"skipped", result.skipped}, {"sources", result.manifest}};
  write_file_atomic(options.manifest, manifest.dump(2) + '\n');
}

Watcher::Watcher(const RunOptions& options, std::function<Json()> figures) {
  if (options.watch == nullptr) return;
  thread_ = std::thread([this, watch = options.watch, figures = std::move(figures)] {
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, std::chrono::milliseconds(200), [this] { return stop_; })) watch(figures());
  });
}

Watcher::~Watcher() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  ended_.notify_all();
  if (thread_.joinable()) thread_.join();
}

}  // namespace mobula::data
