/// One connection to an SQLite file, with prepared statements that are kept and errors that name the file.
///
///     auto rows = database.query("SELECT name FROM runs WHERE id = ?", id);
///     while (rows.next()) names.push_back(rows.text(0));
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>

namespace mobula::track {

/// A statement being run. Ends (and frees its statement for the next use) with its life. Don't keep two of
/// the same SQL text alive at once.
class Rows {
 public:
  Rows(sqlite3_stmt* statement, const std::filesystem::path& file) : statement_(statement), file_(&file) {}
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;
  ~Rows();

  /// Moves to the next row. Returns false after the last one. Throws Error naming the file.
  bool next();
  std::string text(int column) const;
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  double real(int column) const { return sqlite3_column_double(statement_, column); }
  bool is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

 private:
  sqlite3_stmt* statement_;
  const std::filesystem::path* file_;
};

/// A connection. Belongs to one thread at a time.
class Database {
 public:
  /// Opens the file, or makes it. Throws Error(io).
  explicit Database(std::filesystem::path file);
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  /// Binds `values` to the statement's question marks, in order; read the rows with next(). Not-a-number is
  /// bound as null.
  template <class... Values>
  Rows query(const char* sql, const Values&... values) {
    sqlite3_stmt* statement = prepare(sql);
    int position = 0;
    (bind(statement, ++position, values), ...);
    return Rows(statement, file_);
  }
  /// Runs a statement to its end.
  template <class... Values>
  void execute(const char* sql, const Values&... values) {
    Rows rows = query(sql, values...);
    while (rows.next()) {
    }
  }
  /// Runs several statements separated by semicolons, without values.
  void execute_script(const char* sql);

  const std::filesystem::path& file() const noexcept { return file_; }
  /// Returns the number of rows that the last INSERT, UPDATE or DELETE changed.
  int num_changed() const noexcept { return sqlite3_changes(handle_); }

 private:
  sqlite3_stmt* prepare(const char* sql);
  void bind(sqlite3_stmt* statement, int position, std::string_view text);
  void bind(sqlite3_stmt* statement, int position, double number);
  template <class Integer>
  requires std::is_integral_v<Integer>
  void bind(sqlite3_stmt* statement, int position, Integer number) {
    check(sqlite3_bind_int64(statement, position, static_cast<sqlite3_int64>(number)));
  }
  void check(int result) const;

  std::filesystem::path file_;
  sqlite3* handle_ = nullptr;
  std::unordered_map<const char*, sqlite3_stmt*> statements_;  // keyed by the literal's address
};

/// A transaction that takes the write lock at once and is rolled back unless commit() was reached.
class Transaction {
 public:
  explicit Transaction(Database& database);
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace mobula::track
