/// Experiment tracking: runs with parameters, metrics and artifacts in one SQLite file (WAL).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mobula::track {

/// Returns the store's file: $MOBULA_TRACK, else runs/mobula.db.
std::filesystem::path default_store();

struct RunInfo {
  std::string id;  ///< 12 characters, unique
  std::string name;
  std::string status;     ///< running, finished, failed, killed
  double start_time = 0;  ///< seconds since 1970
  std::optional<double> end_time;
  std::filesystem::path folder;
  std::string code_version;
};

struct MetricPoint {
  std::int64_t step = 0;
  double value = 0;
  double time = 0;  ///< seconds since 1970
};

/// A metric in a few numbers. Those of value skip points that are not finite.
struct MetricSummary {
  std::string name;
  std::uint64_t count = 0;
  MetricPoint last;  ///< the point of the largest step
  double min = 0;
  std::int64_t min_step = 0;  ///< the first step that has `min`
  double max = 0;
};

struct Artifact {
  std::string name;
  std::filesystem::path path;
  std::uint64_t bytes = 0;
};

class Store;

/// A run being recorded. Thread-safe; everything logged is buffered and written in batches by a thread of its
/// own, so that a slow or full disk never holds up the work: what can't be written is tried again, and
/// flush() and finish() report it.
class Run {
 public:
  /// Ends the run where finish() was not called: as failed when an exception is leaving the scope, else as
  /// finished.
  ~Run();
  const std::string& id() const;
  /// Records parameters in their order; a key logged before takes the new value.
  void log_params(const std::vector<std::pair<std::string, std::string>>& params);
  /// Records a point; a step that has one already takes the new value.
  void log_metric(std::string_view name, std::int64_t step, double value);
  /// Records where a file or folder lies and its size now (a folder counts all it holds); nothing is copied.
  void log_artifact(std::string_view name, const std::filesystem::path& path);
  void set_tag(std::string_view key, std::string_view value);
  /// Removes metric points after `step`: what a run that goes back to a checkpoint calls.
  void truncate_metrics(std::int64_t step);
  /// Writes everything out. Throws Error(io).
  void flush();
  /// Writes everything out and ends the run with a status; later calls do nothing. Throws Error(io).
  void finish(std::string_view status = "finished");

  struct Impl;
  explicit Run(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

/// The store. Thread-safe; several processes may use one file at once.
///
///     auto run = track::Store::open(track::default_store())->start_run("baseline", "runs/baseline");
///     run->log_params({{"lr", "0.001"}});
///     run->log_metric("loss", step, loss);
class Store {
 public:
  /// Opens or makes the file. Throws Error(corrupt) for one that is no store, Error(unsupported) for a newer
  /// format.
  static std::shared_ptr<Store> open(const std::filesystem::path& file);
  virtual ~Store() = default;

  /// Starts a run, or continues the one recorded for the same folder where `resume` is set.
  virtual std::unique_ptr<Run> start_run(std::string_view name, const std::filesystem::path& folder,
                                         bool resume = false) = 0;
  /// Lists runs, newest first.
  virtual std::vector<RunInfo> list_runs(std::size_t limit = 100) = 0;
  /// Finds a run by id, an id's unique beginning, or name (the newest). Throws Error(not_found) with the
  /// nearest name.
  virtual RunInfo find_run(std::string_view id_or_name) = 0;
  virtual std::vector<std::pair<std::string, std::string>> params(std::string_view run_id) = 0;
  virtual std::vector<std::pair<std::string, std::string>> tags(std::string_view run_id) = 0;
  virtual std::vector<std::string> metric_names(std::string_view run_id) = 0;
  /// Returns each metric's point of the largest step, by name; takes no longer for long runs.
  virtual std::vector<std::pair<std::string, MetricPoint>> last_metrics(std::string_view run_id) = 0;
  /// Returns every metric in short, by name; reads all points.
  virtual std::vector<MetricSummary> metric_summaries(std::string_view run_id) = 0;
  /// Returns a metric's points by step; those that were not a number are NaN.
  virtual std::vector<MetricPoint> metric(std::string_view run_id, std::string_view name) = 0;
  virtual std::vector<Artifact> artifacts(std::string_view run_id) = 0;
};

}  // namespace mobula::track
