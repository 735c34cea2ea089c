#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <random>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/track/code_version.hpp"
#include "mobula/track/database.hpp"
#include "mobula/track/process_identity.hpp"
#include "mobula/track/run.hpp"
#include "mobula/track/run_implementation.hpp"
#include "mobula/track/schema.hpp"

namespace mobula::track {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kIdLength = 12;
constexpr std::size_t kShortestPrefix = 4;

#define RUN_COLUMNS "SELECT id, name, status, start_time, end_time, folder, code_version, host, process FROM runs "

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Lower case and without the letters and digits that are taken for one another, so that people can type it.
std::string make_id() {
  static constexpr std::string_view kAlphabet = "23456789abcdefghjkmnpqrstuvwxyz";
  std::random_device entropy;
  std::uniform_int_distribution<std::size_t> pick(0, kAlphabet.size() - 1);
  std::string id;
  while (id.size() < kIdLength) id.push_back(kAlphabet[pick(entropy)]);
  return id;
}

std::string full_path(const fs::path& folder) {
  std::string text = fs::weakly_canonical(fs::absolute(folder)).string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

RunInfo read_run(const Rows& rows) {
  RunInfo run{.id = rows.text(0),
              .name = rows.text(1),
              .status = rows.text(2),
              .start_time = rows.real(3),
              .end_time = std::nullopt,
              .folder = rows.text(5),
              .code_version = rows.text(6)};
  if (!rows.is_null(4)) run.end_time = rows.real(4);
  if (run.status == "running" && is_running(rows.text(7), rows.text(8)) == false) run.status = "killed";
  return run;
}

class SqliteStore : public Store {
 public:
  explicit SqliteStore(const fs::path& file) : database_(file) { prepare_schema(database_); }

  std::unique_ptr<Run> start_run(std::string_view name, const fs::path& folder, bool resume) override {
    auto connection = std::make_unique<Database>(database_.file());
    connection->execute("PRAGMA synchronous = NORMAL");
    const std::string place = full_path(folder);
    const std::string code = read_code_version(fs::current_path()).to_string();
    std::string id;
    {
      Transaction transaction(*connection);
      if (resume) {
        Rows rows = connection->query("SELECT id FROM runs WHERE folder = ? ORDER BY start_time DESC LIMIT 1", place);
        if (rows.next()) id = rows.text(0);
      }
      if (id.empty()) {
        id = make_id();
        connection->execute(
            "INSERT INTO runs (id, name, status, start_time, end_time, folder, code_version, host, process) "
            "VALUES (?, ?, 'running', ?, NULL, ?, ?, ?, ?)",
            id, name, now(), place, code, host_identity(), process_identity());
      } else {
        connection->execute(
            "UPDATE runs SET status = 'running', end_time = NULL, code_version = ?, host = ?, process = ? "
            "WHERE id = ?",
            code, host_identity(), process_identity(), id);
      }
      transaction.commit();
    }
    return std::make_unique<Run>(std::make_unique<Run::Impl>(std::move(connection), std::move(id)));
  }

  std::vector<RunInfo> list_runs(std::size_t limit) override {
    const std::lock_guard lock(mutex_);
    Rows rows = database_.query(RUN_COLUMNS "ORDER BY start_time DESC, id LIMIT ?", limit);
    return read_runs(rows);
  }

  RunInfo find_run(std::string_view id_or_name) override {
    const std::lock_guard lock(mutex_);
    if (auto run = find_one(RUN_COLUMNS "WHERE id = ?", id_or_name)) return *run;
    if (auto run = find_one(RUN_COLUMNS "WHERE name = ? ORDER BY start_time DESC LIMIT 1", id_or_name)) return *run;
    if (id_or_name.size() >= kShortestPrefix) {
      Rows rows = database_.query(RUN_COLUMNS "WHERE substr(id, 1, ?) = ? LIMIT 2", id_or_name.size(), id_or_name);
      const std::vector<RunInfo> runs = read_runs(rows);
      if (runs.size() == 1) return runs.front();
      if (runs.size() > 1) {
        throw_invalid(
            fmt::format("'{}' is the beginning of several runs' ids: {}, {} ...", id_or_name, runs[0].id, runs[1].id),
            "write more of the id");
      }
    }
    if (!id_or_name.empty()) {
      const std::string folder = full_path(fs::path(id_or_name));
      if (auto run = find_one(RUN_COLUMNS "WHERE folder = ? ORDER BY start_time DESC LIMIT 1", folder)) return *run;
    }
    throw_not_found(id_or_name);
  }

  std::vector<std::pair<std::string, std::string>> params(std::string_view run_id) override {
    const std::lock_guard lock(mutex_);
    Rows rows = database_.query("SELECT key, value FROM params WHERE run_id = ? ORDER BY position", run_id);
    return read_pairs(rows);
  }

  std::vector<std::pair<std::string, std::string>> tags(std::string_view run_id) override {
    const std::lock_guard lock(mutex_);
    Rows rows = database_.query("SELECT key, value FROM tags WHERE run_id = ? ORDER BY key", run_id);
    return read_pairs(rows);
  }

  std::vector<std::string> metric_names(std::string_view run_id) override {
    const std::lock_guard lock(mutex_);
    return read_metric_names(run_id);
  }

  std::vector<std::pair<std::string, MetricPoint>> last_metrics(std::string_view run_id) override {
    const std::lock_guard lock(mutex_);
    std::vector<std::pair<std::string, MetricPoint>> result;
    for (const std::string& name : read_metric_names(run_id)) {
      Rows rows = database_.query(
          "SELECT step, value, time FROM points WHERE metric_id = "
          "(SELECT id FROM metrics WHERE run_id = ? AND name = ?) ORDER BY step DESC LIMIT 1",
          run_id, name);
      if (rows.next()) result.emplace_back(name, read_point(rows));
    }
    return result;
  }

  std::vector<MetricSummary> metric_summaries(std::string_view run_id) override {
    const std::lock_guard lock(mutex_);
    std::vector<MetricSummary> summaries;
    for (const std::string& name : read_metric_names(run_id)) {
      MetricSummary summary{.name = name, .min = std::nan(""), .max = std::nan("")};
      Rows rows = points(run_id, name);
      while (rows.next()) {
        ++summary.count;
        summary.last = read_point(rows);
        const double value = summary.last.value;
        if (!std::isfinite(value)) continue;
        if (!(value >= summary.min)) {
          summary.min = value;
          summary.min_step = summary.last.step;
        }
        if (!(value <= summary.max)) summary.max = value;
      }
      if (summary.count > 0) summaries.push_back(std::move(summary));
    }
    return summaries;
  }

  std::vector<MetricPoint> metric(std::string_view run_id, std::string_view name) override {
    const std::lock_guard lock(mutex_);
    std::vector<MetricPoint> result;
    Rows rows = points(run_id, name);
    while (rows.next()) result.push_back(read_point(rows));
    return result;
  }

  std::vector<Artifact> artifacts(std::string_view run_id) override {
    const std::lock_guard lock(mutex_);
    std::vector<Artifact> result;
    Rows rows = database_.query("SELECT name, path, bytes FROM artifacts WHERE run_id = ? ORDER BY name", run_id);
    while (rows.next()) {
      result.push_back({rows.text(0), rows.text(1), static_cast<std::uint64_t>(rows.integer(2))});
    }
    return result;
  }

 private:
  static std::vector<RunInfo> read_runs(Rows& rows) {
    std::vector<RunInfo> runs;
    while (rows.next()) runs.push_back(read_run(rows));
    return runs;
  }

  static std::vector<std::pair<std::string, std::string>> read_pairs(Rows& rows) {
    std::vector<std::pair<std::string, std::string>> pairs;
    while (rows.next()) pairs.emplace_back(rows.text(0), rows.text(1));
    return pairs;
  }

  static MetricPoint read_point(const Rows& rows) {
    const double value = rows.is_null(1) ? std::numeric_limits<double>::quiet_NaN() : rows.real(1);
    return {rows.integer(0), value, rows.real(2)};
  }

  Rows points(std::string_view run_id, std::string_view name) {
    return database_.query(
        "SELECT step, value, time FROM points WHERE metric_id = "
        "(SELECT id FROM metrics WHERE run_id = ? AND name = ?) ORDER BY step",
        run_id, name);
  }

  std::vector<std::string> read_metric_names(std::string_view run_id) {
    std::vector<std::string> names;
    Rows rows = database_.query("SELECT name FROM metrics WHERE run_id = ? ORDER BY name", run_id);
    while (rows.next()) names.push_back(rows.text(0));
    return names;
  }

  std::optional<RunInfo> find_one(const char* sql, std::string_view value) {
    Rows rows = database_.query(sql, value);
    if (!rows.next()) return std::nullopt;
    return read_run(rows);
  }

  [[noreturn]] void throw_not_found(std::string_view id_or_name) {
    std::vector<std::string> known;
    Rows rows = database_.query("SELECT id, name FROM runs ORDER BY start_time DESC LIMIT 1000");
    while (rows.next()) {
      known.push_back(rows.text(1));
      known.push_back(rows.text(0));
    }
    const std::string file = database_.file().string();
    throw Error(ErrorCode::not_found, fmt::format("no run '{}' in {}", id_or_name, file),
                known.empty() ? "the store is empty; runs appear there as they start"
                              : fmt::format("{}; see 'mobula runs list'", suggest(id_or_name, known)));
  }

  std::mutex mutex_;
  Database database_;
};

}  // namespace

fs::path default_store() {
  if (const char* file = std::getenv("MOBULA_TRACK"); file != nullptr && *file != '\0') return file;
  return "runs/mobula.db";
}

std::shared_ptr<Store> Store::open(const fs::path& file) {
  if (fs::is_directory(file)) {
    throw Error(ErrorCode::io, fmt::format("{}: a folder, not a store of runs", file.string()),
                "name the file inside it, such as mobula.db");
  }
  if (file.has_parent_path()) {
    std::error_code failure;
    fs::create_directories(file.parent_path(), failure);
    if (failure) throw_io(file.parent_path().string(), failure.value(), "set MOBULA_TRACK to another file");
  }
  return std::make_shared<SqliteStore>(fs::absolute(file));
}

}  // namespace mobula::track
