#include "mobula/track/schema.hpp"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "mobula/base/error.hpp"

namespace mobula::track {
namespace {

constexpr std::int64_t kApplicationId = 0x4d6f6275;  // "Mobu", in the file's header
constexpr std::int64_t kVersion = 1;

// A metric has at most one point a step: a resumed run writes its steps again. Null stands for not-a-number.
constexpr const char* kTables = R"(
CREATE TABLE runs (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, status TEXT NOT NULL,
  start_time REAL NOT NULL, end_time REAL, folder TEXT NOT NULL, code_version TEXT NOT NULL,
  host TEXT NOT NULL, process TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_by_time ON runs (start_time);
CREATE INDEX runs_by_folder ON runs (folder);
CREATE TABLE params (
  run_id TEXT NOT NULL REFERENCES runs (id), position INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (run_id, key)
) WITHOUT ROWID;
CREATE TABLE tags (
  run_id TEXT NOT NULL REFERENCES runs (id), key TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (run_id, key)
) WITHOUT ROWID;
CREATE TABLE metrics (
  id INTEGER PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs (id), name TEXT NOT NULL, UNIQUE (run_id, name)
);
CREATE TABLE points (
  metric_id INTEGER NOT NULL REFERENCES metrics (id), step INTEGER NOT NULL, value REAL, time REAL NOT NULL,
  PRIMARY KEY (metric_id, step)
) WITHOUT ROWID;
CREATE TABLE artifacts (
  run_id TEXT NOT NULL REFERENCES runs (id), name TEXT NOT NULL, path TEXT NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (run_id, name)
) WITHOUT ROWID;
PRAGMA application_id = 1299145333;
PRAGMA user_version = 1;
)";
static_assert(kApplicationId == 1299145333 && kVersion == 1, "the script above spells both out");

std::int64_t read_number(Database& database, const char* sql) {
  Rows rows = database.query(sql);
  return rows.next() ? rows.integer(0) : 0;
}

void switch_on_write_ahead_log(Database& database) {
  // Two processes that switch a new file at once can collide without SQLite waiting for its busy timeout.
  for (int attempt = 1;; ++attempt) {
    try {
      database.execute("PRAGMA journal_mode = WAL");
      return;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::unavailable || attempt == 100) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
}

// Returns whether the tables are there.
bool check_version(Database& database) {
  const std::int64_t application = read_number(database, "PRAGMA application_id");
  const std::int64_t version = read_number(database, "PRAGMA user_version");
  const std::string file = database.file().string();
  if (application == kApplicationId) {
    if (version == kVersion) return true;
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: a store of format {}; this Mobula reads format {}", file, version, kVersion),
                "use the Mobula that wrote it, or set MOBULA_TRACK to another file");
  }
  if (application != 0 || read_number(database, "SELECT count(*) FROM sqlite_master") != 0) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: an SQLite file of another program, not a store of runs", file),
                "set MOBULA_TRACK to another file");
  }
  return false;
}

}  // namespace

void prepare_schema(Database& database) {
  if (!check_version(database)) {
    switch_on_write_ahead_log(database);
    Transaction transaction(database);
    // Another process may have made the tables meanwhile.
    if (!check_version(database)) database.execute_script(kTables);
    transaction.commit();
  }
  // A power cut may then lose the last moments of a run, but never damages the file.
  database.execute("PRAGMA synchronous = NORMAL");
}

}  // namespace mobula::track
