#include "mobula/track/database.hpp"

#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "mobula/base/error.hpp"

namespace mobula::track {
namespace {

constexpr int kBusyTimeoutMilliseconds = 30'000;

[[noreturn]] void throw_sqlite(int result, const char* reason, const std::filesystem::path& file) {
  const std::string where = file.string();
  switch (result & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      throw Error(ErrorCode::corrupt, fmt::format("{}: not a store of runs, or damaged ({})", where, reason),
                  "move the file away to start a new one, or restore a copy (its -wal and -shm files belong to it)");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw Error(
          ErrorCode::unavailable,
          fmt::format("{}: another process has held the store for {} s", where, kBusyTimeoutMilliseconds / 1000),
          "look for a stopped process that has it open");
    case SQLITE_FULL:
      throw Error(ErrorCode::io, fmt::format("{}: no space left on the disk", where), "free some space");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      throw Error(ErrorCode::io, fmt::format("{}: can't be opened for writing ({})", where, reason),
                  "check that the folder exists and is yours, or set MOBULA_TRACK to another file");
    default:
      throw Error(ErrorCode::io, fmt::format("{}: {}", where, reason));
  }
}

}  // namespace

Rows::~Rows() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

bool Rows::next() {
  const int result = sqlite3_step(statement_);
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  throw_sqlite(result, sqlite3_errmsg(sqlite3_db_handle(statement_)), *file_);
}

std::string Rows::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (bytes == nullptr) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

Database::Database(std::filesystem::path file) : file_(std::move(file)) {
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int result = sqlite3_open_v2(file_.c_str(), &handle_, flags, nullptr);
  if (result != SQLITE_OK) {
    const std::string reason = handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(result);
    sqlite3_close(handle_);
    throw_sqlite(result, reason.c_str(), file_);
  }
  sqlite3_extended_result_codes(handle_, 1);
  sqlite3_busy_timeout(handle_, kBusyTimeoutMilliseconds);
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

void Database::execute_script(const char* sql) {
  check(sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr));
}

sqlite3_stmt* Database::prepare(const char* sql) {
  if (const auto found = statements_.find(sql); found != statements_.end()) return found->second;
  sqlite3_stmt* statement = nullptr;
  check(sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr));
  statements_.emplace(sql, statement);
  return statement;
}

void Database::bind(sqlite3_stmt* statement, int position, std::string_view text) {
  check(sqlite3_bind_text64(statement, position, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
}

void Database::bind(sqlite3_stmt* statement, int position, double number) {
  check(std::isnan(number) ? sqlite3_bind_null(statement, position) : sqlite3_bind_double(statement, position, number));
}

void Database::check(int result) const {
  if (result != SQLITE_OK) throw_sqlite(result, sqlite3_errmsg(handle_), file_);
}

Transaction::Transaction(Database& database) : database_(database) {
  database_.execute("BEGIN IMMEDIATE");
}

Transaction::~Transaction() {
  if (!open_) return;
  try {
    database_.execute("ROLLBACK");
  } catch (const Error&) {
    // SQLite rolls back by itself after errors such as a full disk; then there is nothing left to undo.
  }
}

void Transaction::commit() {
  database_.execute("COMMIT");
  open_ = false;
}

}  // namespace mobula::track
