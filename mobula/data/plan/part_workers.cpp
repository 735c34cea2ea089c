#include "mobula/data/plan/part_workers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <exception>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/log.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/resources.hpp"
#include "mobula/data/plan/manifest.hpp"
#include "mobula/data/plan/part_folder.hpp"
#include "mobula/data/plan/part_job.hpp"
#include "mobula/data/plan/plan_run.hpp"
#include "mobula/data/rows/worker_directory.hpp"
#include "mobula/data/storage/remote_path.hpp"

namespace mobula::data {
namespace {

constexpr int kMaxWorkers = 4096;

/// Refuses sources of which every worker would have to read all rows.
void check_sources(const std::vector<std::unique_ptr<Source>>& sources) {
  for (const auto& source : sources) {
    if (!source->files().empty() || source->num_rows() >= 0) continue;
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: no file holds its rows, so that workers can't read a part each", source->describe()),
                "write them to Parquet first, and read that; or leave out `workers`");
  }
}

/// Finds the source's rows by their numbers, without running anything. Throws Error(unsupported) naming what needs other rows
/// than those of a part.
void find_rows(RowRanges& ranges, const PlanNode& plan, const RunOptions& options) {
  PlanContext context = context_of(options);
  context.part = [&ranges](const OpenSource& open, const std::string& held_back_by) {
    if (!held_back_by.empty()) {
      throw Error(
          ErrorCode::unsupported,
          fmt::format("workers make parts apart from one another, and {} needs the rows of others", held_back_by),
          "do that in a run of its own, to files that a run with workers reads; or leave out `workers`");
    }
    if (!ranges.open_by_number(open)) {
      throw Error(
          ErrorCode::unsupported,
          fmt::format("{}: its rows have no numbers, so that workers can't read a part each", open()->describe()),
          "write them to Parquet first, and read that; or leave out `workers`");
    }
    return ranges.range(0, 0);
  };
  plan.prepare(context);
}

/// Hands parts to workers, and keeps account of them. Thread-safe.
class PartAccount {
 public:
  PartAccount(PartFolder& folder, const RowRanges& ranges, const WriteOptions& write, ErrorPolicy on_error)
      : folder_(folder), ranges_(ranges), part_rows_(write.part_rows), on_error_(std::move(on_error)) {
    const std::int64_t rows = ranges.num_rows();
    num_parts_ = std::max<std::int64_t>(1, (rows + part_rows_ - 1) / part_rows_);
    for (std::int64_t part = 0; part < num_parts_; ++part) {
      if (folder.done().count(part) == 0) waiting_.push_back(part);
    }
    num_before_ = num_parts_ - static_cast<std::int64_t>(waiting_.size());
    for (const auto& [part, mark] : folder.done()) skipped_ += mark.value("skipped", std::int64_t{0});
    BadRows(on_error_).add_skipped(skipped_);
  }

  std::int64_t num_waiting() const { return static_cast<std::int64_t>(waiting_.size()); }

  /// Returns the next part to make; nothing where all were handed out, or one has failed.
  std::optional<PartTask> next() {
    const std::lock_guard lock(mutex_);
    if (!failures_.empty() || waiting_.empty()) return std::nullopt;
    PartTask task{.part = waiting_.front(), .pieces = {}};
    waiting_.pop_front();
    task.begin = task.part * part_rows_;
    task.end = task.begin + part_rows_;
    task.pieces = ranges_.pieces(task.begin, task.end);
    task.skipped_before = skipped_;
    return task;
  }

  /// Notes what became of a part.
  void take(std::int64_t part, const PartReport& report) {
    Json figures = parse_json(report.json, "what a worker tells of a part");
    const std::lock_guard lock(mutex_);
    try {
      auto lines = figures.at("bad").get<std::vector<std::string>>();
      try {
        if (!report.error.empty()) std::rethrow_exception(decode_error(report.error));
        check_limit(lines);
        check_columns(part, figures);
      } catch (...) {
        for (std::string& line : lines) failed_lines_.push_back(std::move(line));
        throw;
      }
      const auto skipped = figures.at("skipped").get<std::int64_t>();
      folder_.note(part, {{"rows", figures.at("rows")},
                          {"files", figures.at("files")},
                          {"manifest", figures.at("manifest")},
                          {"skipped", skipped},
                          {"bad", std::move(lines)}});
      skipped_ += skipped;
      rows_ += figures.at("rows").get<std::int64_t>();
      ++num_made_;
      add_statistics(statistics_, figures.at("statistics"));
    } catch (...) {
      failures_.emplace(part, std::current_exception());
    }
  }
  /// Notes that a part, or a worker before its first one (-1), has failed.
  void fail(std::int64_t part, std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    failures_.emplace(part, std::move(error));
  }

  /// Returns whether all parts were handed out, or no more will be.
  bool over() const {
    const std::lock_guard lock(mutex_);
    return !failures_.empty() || waiting_.empty();
  }
  /// Throws the failure of the first part that has one.
  void rethrow_failure() const {
    const std::lock_guard lock(mutex_);
    if (!failures_.empty()) std::rethrow_exception(failures_.begin()->second);
  }

  /// Returns the figures so far: stages whose seconds are those of a worker.
  Json statistics(int num_workers) const {
    const std::lock_guard lock(mutex_);
    Json stages = statistics_;
    if (stages.empty()) {
      const Json none = {{"name", "parts"}, {"rows", 0}, {"bytes", 0}, {"busy_s", 0.0}};
      stages.push_back(
          {{"operators", Json::array({none})}, {"threads", 1}, {"seconds", 0.0}, {"blocked", Json::array()}});
    }
    for (Json& stage : stages) {
      stage["done"] = num_made_ + num_before_ == num_parts_;
      stage["seconds"] = stage["seconds"].get<double>() / num_workers;
      stage["threads"] = stage["threads"].get<int>() * num_workers;
      stage["parts"] = {{"made", num_made_}, {"before", num_before_}, {"of", num_parts_}, {"workers", num_workers}};
    }
    return stages;
  }
  std::int64_t rows() const { return rows_; }
  std::int64_t skipped() const { return skipped_; }
  /// Returns the bad rows of parts that were not made.
  const std::vector<std::string>& failed_lines() const { return failed_lines_; }

 private:
  /// Throws where a part has left out more rows than others had left over for it.
  void check_limit(const std::vector<std::string>& lines) const {
    const auto left = static_cast<std::size_t>(std::max<std::int64_t>(0, on_error_.max_skipped - skipped_));
    if (lines.size() <= left) return;
    const Json line = parse_json(lines[left], "a bad row");
    const auto of = [&line](const char* key) { return line.at(key).get<std::string>(); };
    throw_too_many_bad_rows(of("where"), of("operator"), of("reason"), on_error_.max_skipped);
  }
  /// Throws where a part has other columns than those before it.
  void check_columns(std::int64_t part, const Json& figures) {
    const auto columns = figures.at("columns").get<ColumnTypes>();
    const auto host = figures.at("host").get<std::string>();
    if (!columns_) {
      columns_ = columns;
      host_ = host;
    }
    if (const std::string other = difference_of(*columns_, columns); !other.empty()) {
      throw Error(ErrorCode::corrupt,
                  fmt::format("part {}: on node {} {} in what node {} made", part, host, other, host_),
                  "give every node the same program, models and files");
    }
  }

  PartFolder& folder_;
  const RowRanges& ranges_;
  std::int64_t part_rows_;
  ErrorPolicy on_error_;
  std::int64_t num_parts_ = 0;
  std::int64_t num_before_ = 0;
  mutable std::mutex mutex_;
  std::deque<std::int64_t> waiting_;
  std::map<std::int64_t, std::exception_ptr> failures_;
  std::vector<std::string> failed_lines_;
  std::optional<ColumnTypes> columns_;
  std::string host_;
  Json statistics_ = Json::array();
  std::int64_t num_made_ = 0;
  std::int64_t rows_ = 0;
  std::int64_t skipped_ = 0;
};

/// Workers at work: a thread of this process waits for each.
class PartCrew {
 public:
  PartCrew(PartAccount& account, int num_workers, const std::function<PartWorker()>& make_worker) : account_(account) {
    for (int i = 0; i < num_workers; ++i) threads_.emplace_back([this, make_worker] { work(make_worker); });
  }
  /// Waits until all parts are made, or one has failed and those that were begun have ended.
  void wait() {
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void work(const std::function<PartWorker()>& make_worker) {
    try {
      if (account_.over()) return;
      const std::shared_ptr<PartWorker> worker = begin(make_worker());
      worker->start();
      {
        const std::lock_guard lock(mutex_);
        starting_.erase(worker);
      }
      while (const auto task = account_.next()) make(*worker, *task);
    } catch (...) {
      // One that was not needed any more was ended while it waited.
      if (!account_.over()) account_.fail(-1, std::current_exception());
    }
    end_those_that_wait();
  }
  /// Makes a worker one of those that wait for processors or a node. A part is handed out when its worker is there, so that they
  /// hold up nobody.
  std::shared_ptr<PartWorker> begin(PartWorker made) {
    auto worker = std::make_shared<PartWorker>(std::move(made));
    const std::lock_guard lock(mutex_);
    starting_.insert(worker);
    return worker;
  }
  void make(const PartWorker& worker, const PartTask& task) {
    try {
      account_.take(task.part, worker.make(task.to_json().dump()));
    } catch (...) {
      account_.fail(task.part, with_context(capture_task_failure(), fmt::format("part {}", task.part)));
    }
  }
  /// Ends workers that no part is left for.
  void end_those_that_wait() {
    if (!account_.over()) return;
    const std::lock_guard lock(mutex_);
    for (const auto& worker : starting_) {
      try {
        worker->end();
      } catch (const std::exception& error) {
        log_warning("a worker that was not needed any more could not be ended: {}", error.what());
      }
    }
    starting_.clear();
  }

  PartAccount& account_;
  std::mutex mutex_;
  std::set<std::shared_ptr<PartWorker>> starting_;
  std::vector<std::thread> threads_;
};

/// Returns what workers have to know of the run.
PartJob job_of(const PartFolder& folder, const std::string& format, const WriteOptions& write,
               const RunOptions& options, const PartWorkersOptions& workers, Source& source, const Json& identity) {
  namespace fs = std::filesystem;
  PartJob job{.directory = working_directory(),
              .folder = is_remote(folder.path()) ? folder.path() : fs::absolute(folder.path()).string(),
              .format = format,
              .write = write,
              .run = options,
              .files = {},
              .columns = source.schema()};
  job.run.num_threads = std::max(1, static_cast<int>(std::ceil(workers.actor.cpus)));
  job.run.row_origins = context_of(options).tracks != nullptr;
  if (!job.run.spill_directory.empty()) job.run.spill_directory = fs::absolute(job.run.spill_directory);
  std::map<std::string, const Json*> found;
  for (const Json& file : identity.at("files")) found.emplace(file.at(0).get<std::string>(), &file);
  for (const std::string& file : source.files()) {
    const Json& known = *found.at(file);
    job.files.push_back({file, known.at(1).get<std::uint64_t>(), known.at(2).get<std::string>()});
  }
  return job;
}

}  // namespace

void PartWorkersOptions::validate() const {
  if (num_workers < 1 || num_workers > kMaxWorkers)
    throw_invalid(fmt::format("workers: {} of them; 1 to {} are expected", num_workers, kMaxWorkers));
  if (!(actor.cpus >= 0)) throw_invalid(fmt::format("workers: {} cpus", actor.cpus));
  if (!(actor.gpus >= 0)) throw_invalid(fmt::format("workers: {} gpus", actor.gpus));
}

PartWorkersOptions fitting_workers(const Runtime& runtime, PartWorkersOptions workers) {
  workers.validate();
  if (runtime.options().engine != "local") return workers;
  ActorOptions& actor = workers.actor;
  const ResourceSet all = runtime.resources();
  for (const auto& [name, each] : {std::pair("cpu", actor.cpus), std::pair("gpu", actor.gpus)}) {
    if (each <= 0) continue;
    // One that not even the whole machine has room for is refused by the runtime, which says so.
    const double fit = std::floor(all.get(name).value() / each + 1e-6);
    workers.num_workers = std::clamp(workers.num_workers, 1, std::max(1, static_cast<int>(fit)));
  }
  const bool process = actor.isolation == Isolation::process ||
                       (actor.isolation == Isolation::inherit && runtime.options().isolation == Isolation::process);
  // Models compute in as many threads as a worker has processors. Ray sees to that itself.
  if (process) {
    const std::string threads = std::to_string(std::max(1, static_cast<int>(std::ceil(actor.cpus))));
    for (const char* variable : {"OMP_NUM_THREADS", "MKL_NUM_THREADS"})
      actor.environment.emplace_back(variable, threads);
  }
  return workers;
}

RunResult write_parts_in_workers(const Dataset& dataset, const std::string& path, const std::string& format,
                                 const WriteOptions& write, const RunOptions& options,
                                 const PartWorkersOptions& workers,
                                 const std::function<PartWorker(const std::string& job)>& make_worker) {
  workers.validate();
  check_part_options(path, format, write);
  PlanContext context = context_of(options);
  std::vector<std::unique_ptr<Source>> sources;
  dataset.plan()->open_sources(context, sources);
  check_sources(sources);
  // Whatever can't be done is refused before the folder is there, and the rows are counted once.
  RowRanges ranges;
  find_rows(ranges, *dataset.plan(), options);
  const Json identity = identity_of_parts(sources, format, write);
  PartFolder folder(path, identity);
  folder.settle("rows", static_cast<std::uint64_t>(ranges.num_rows()));

  RunResult result;
  Json before = empty_manifest();
  for (const auto& [part, mark] : folder.done()) result.rows_before += mark.at("rows").get<std::int64_t>();
  result.parts_before = static_cast<std::int64_t>(folder.done().size());
  PartAccount account(folder, ranges, write, options.on_error);
  const int num_workers = static_cast<int>(
      std::clamp<std::int64_t>(account.num_waiting(), 1, static_cast<std::int64_t>(workers.num_workers)));
  const auto write_dead_letters = [&] {
    auto lines = folder.bad_rows({});
    lines.insert(lines.end(), account.failed_lines().begin(), account.failed_lines().end());
    write_dead_letter(options.on_error, lines);
  };
  try {
    if (account.num_waiting() > 0) {
      const std::string job =
          job_of(folder, format, write, options, workers, ranges.source(), identity).to_json().dump();
      const Watcher watcher(options, [&] { return account.statistics(num_workers); });
      PartCrew(account, num_workers, [&] { return make_worker(job); }).wait();
      folder.remove_unfinished();
    }
    account.rethrow_failure();
  } catch (...) {
    write_dead_letters();
    throw;
  }
  write_dead_letters();
  Json parts = empty_manifest();
  for (const auto& [part, mark] : folder.done()) add_manifest(parts, mark.at("manifest"));
  folder.finish(empty_manifest(), {}, 0);
  result.rows = account.rows();
  result.skipped = account.skipped();
  result.manifest = manifest_of_parts(empty_manifest(), parts);
  result.statistics = account.statistics(num_workers);
  write_manifest(result, options);
  return result;
}

}  // namespace mobula::data
