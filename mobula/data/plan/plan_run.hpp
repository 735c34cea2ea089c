/// Runs of plans, as RunOptions say. Internal to this layer.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "mobula/data/dataset.hpp"
#include "mobula/data/plan/plan.hpp"

namespace mobula::data {

/// What a run did.
struct RunFigures {
  RunResult result;
  std::shared_ptr<RunStatistics> statistics;
};

/// Returns what nodes may use in a run of these options.
PlanContext context_of(const RunOptions& options);

/// Runs a plan once, or the part of it that `part` gives.
RunFigures run_once(const PlanNode& plan, Sink& sink, const RunOptions& options, std::shared_ptr<BadRows> bad_rows,
                    PartSource part = nullptr);

/// Writes the manifest of a run where the options name a file for it.
void write_manifest(const RunResult& result, const RunOptions& options);

/// Shows figures to RunOptions::watch a few times a second, from a thread of its own, as long as it lives.
class Watcher {
 public:
  Watcher(const RunOptions& options, std::function<Json()> figures);
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  ~Watcher();

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace mobula::data
