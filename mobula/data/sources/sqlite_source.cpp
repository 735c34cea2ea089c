#include <arrow/array/builder_base.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <simdjson.h>
#include <sqlite3.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace {

constexpr std::int64_t kRowsPerBlock = 1 << 14;
constexpr int kRowsThatTellTypes = 1000;

using Statement = std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)>;

/// A database that is only read.
class Database {
 public:
  explicit Database(std::string file) : file_(std::move(file)), copy_(file_), handle_(nullptr, &sqlite3_close_v2) {
    sqlite3* handle = nullptr;
    const int result =
        sqlite3_open_v2(copy_.path().c_str(), &handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
    handle_.reset(handle);
    if (result != SQLITE_OK) fail("");
    sqlite3_busy_timeout(handle, 10'000);
  }
  Statement prepare(const std::string& query) const {
    sqlite3_stmt* statement = nullptr;
    const char* rest = nullptr;
    if (sqlite3_prepare_v2(handle_.get(), query.c_str(), static_cast<int>(query.size()), &statement, &rest) !=
        SQLITE_OK) {
      fail(query);
    }
    Statement owned(statement, &sqlite3_finalize);
    if (statement == nullptr || sqlite3_column_count(statement) == 0 || sqlite3_stmt_readonly(statement) == 0) {
      throw_invalid(fmt::format("{}: '{}' returns no rows", file_, query), "a SELECT statement is expected");
    }
    while (*rest != '\0' && (std::isspace(static_cast<unsigned char>(*rest)) != 0 || *rest == ';')) ++rest;
    if (*rest != '\0') throw_invalid(fmt::format("{}: more than one statement in '{}'", file_, query));
    return owned;
  }
  /// Steps on; false at the end.
  bool step(sqlite3_stmt* statement) const {
    const int result = sqlite3_step(statement);
    if (result != SQLITE_ROW && result != SQLITE_DONE) fail("");
    return result == SQLITE_ROW;
  }
  std::vector<std::string> tables() const {
    const Statement statement = prepare(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name");
    std::vector<std::string> names;
    while (step(statement.get()))
      names.emplace_back(reinterpret_cast<const char*>(sqlite3_column_text(statement.get(), 0)));
    return names;
  }
  const std::string& file() const { return file_; }

 private:
  [[noreturn]] void fail(const std::string& query) const {
    const int code = handle_ == nullptr ? SQLITE_NOMEM : sqlite3_errcode(handle_.get());
    const bool corrupt = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
    throw Error(corrupt         ? ErrorCode::corrupt
                : query.empty() ? ErrorCode::io
                                : ErrorCode::invalid_argument,
                fmt::format("{}: {}{}", file_, sqlite3_errmsg(handle_.get()),
                            query.empty() ? std::string() : fmt::format(" in '{}'", query)));
  }

  std::string file_;
  LocalCopy copy_;
  std::unique_ptr<sqlite3, int (*)(sqlite3*)> handle_;
};

/// Returns the SELECT that a query, a table's name or nothing stands for.
std::string select_of(const Database& database, const std::string& query) {
  const auto tables = database.tables();
  std::string table = query;
  if (query.empty()) {
    if (tables.size() != 1) {
      throw_invalid(fmt::format("{}: holds {} tables, and none is named", database.file(), tables.size()),
                    fmt::format("set the query to one of {}, or to a SELECT", fmt::join(tables, ", ")));
    }
    table = tables.front();
  }
  if (std::find(tables.begin(), tables.end(), table) == tables.end()) {
    if (query.find(' ') != std::string::npos) return query;
    throw Error(ErrorCode::not_found, fmt::format("{}: no table '{}'", database.file(), query), suggest(query, tables));
  }
  std::string quoted;
  for (const char c : table) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return fmt::format("SELECT * FROM \"{}\"", quoted);
}

/// Returns the type of a declared column by SQLite's rules of affinity (sqlite.org/datatype3.html, section 3.1); nothing
/// for an expression or a column without a type.
std::shared_ptr<arrow::DataType> declared_type(const char* declared) {
  std::string name = declared == nullptr ? "" : declared;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  const auto has = [&name](const char* part) { return name.find(part) != std::string::npos; };
  if (has("INT")) return arrow::int64();
  if (has("CHAR") || has("CLOB") || has("TEXT")) return arrow::utf8();
  if (has("BLOB")) return arrow::binary();
  if (has("REAL") || has("FLOA") || has("DOUB")) return arrow::float64();
  return nullptr;
}

std::shared_ptr<arrow::DataType> widen(const std::shared_ptr<arrow::DataType>& type, int stored) {
  if (stored == SQLITE_NULL) return type;
  const auto seen = stored == SQLITE_INTEGER ? arrow::int64()
                    : stored == SQLITE_FLOAT ? arrow::float64()
                    : stored == SQLITE_BLOB  ? arrow::binary()
                                             : arrow::utf8();
  if (type == nullptr || type->Equals(seen)) return seen;
  const auto numeric = [](const arrow::DataType& t) {
    return t.id() == arrow::Type::INT64 || t.id() == arrow::Type::DOUBLE;
  };
  return numeric(*type) && numeric(*seen) ? arrow::float64() : arrow::utf8();
}

/// All rows of one query, block by block: one cursor has one reader.
class SqlitePiece : public Piece {
 public:
  SqlitePiece(std::string file, const std::string& query, std::shared_ptr<arrow::Schema> schema,
              std::vector<int> picked, std::size_t piece_bytes)
      : file_(std::make_shared<const std::string>(std::move(file))),
        database_(*file_),
        statement_(database_.prepare(query)),
        schema_(std::move(schema)),
        picked_(std::move(picked)),
        piece_bytes_(piece_bytes) {}

  Block read() override {
    if (done_) return {};
    std::vector<std::unique_ptr<arrow::ArrayBuilder>> builders;
    for (const auto& field : schema_->fields()) builders.push_back(take(arrow::MakeBuilder(field->type()), *file_));
    std::int64_t rows = 0;
    for (std::size_t bytes = 0; rows < kRowsPerBlock && bytes < piece_bytes_; ++rows) {
      if (!database_.step(statement_.get())) {
        done_ = true;
        break;
      }
      for (std::size_t i = 0; i < builders.size(); ++i) bytes += append(picked_[i], *builders[i], rows);
    }
    num_rows_ += rows;
    if (rows == 0) return {};
    arrow::ArrayVector columns;
    for (auto& builder : builders) columns.push_back(take(builder->Finish(), *file_));
    return {arrow::RecordBatch::Make(schema_, rows, std::move(columns)), file_};
  }

 private:
  std::size_t append(int column, arrow::ArrayBuilder& builder, std::int64_t row) {
    sqlite3_stmt* const at = statement_.get();
    const int stored = sqlite3_column_type(at, column);
    const auto size = [&] { return static_cast<std::size_t>(sqlite3_column_bytes(at, column)); };
    switch (stored == SQLITE_NULL ? arrow::Type::NA : builder.type()->id()) {
      case arrow::Type::NA:
        check(builder.AppendNull(), *file_);
        return 8;
      case arrow::Type::INT64:
        if (stored != SQLITE_INTEGER) mismatch(column, row, "a whole number");
        check(static_cast<arrow::Int64Builder&>(builder).Append(sqlite3_column_int64(at, column)), *file_);
        return 8;
      case arrow::Type::DOUBLE:
        if (stored != SQLITE_INTEGER && stored != SQLITE_FLOAT) mismatch(column, row, "a number");
        check(static_cast<arrow::DoubleBuilder&>(builder).Append(sqlite3_column_double(at, column)), *file_);
        return 8;
      case arrow::Type::STRING: {
        if (stored == SQLITE_BLOB) mismatch(column, row, "a text");
        const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(at, column));
        if (!simdjson::validate_utf8(text, size())) mismatch(column, row, "valid UTF-8");
        check(static_cast<arrow::StringBuilder&>(builder).Append(text, static_cast<std::int32_t>(size())), *file_);
        return size();
      }
      default: {
        const void* bytes = sqlite3_column_blob(at, column);
        check(static_cast<arrow::BinaryBuilder&>(builder).Append(static_cast<const std::uint8_t*>(bytes),
                                                                 static_cast<std::int32_t>(size())),
              *file_);
        return size();
      }
    }
  }
  [[noreturn]] void mismatch(int column, std::int64_t row, std::string_view expected) const {
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: row {}: column '{}' does not hold {}", *file_, num_rows_ + row + 1,
                            sqlite3_column_name(statement_.get(), column), expected),
                "CAST it in the query");
  }

  std::shared_ptr<const std::string> file_;
  Database database_;
  Statement statement_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> picked_;
  std::size_t piece_bytes_;
  std::int64_t num_rows_ = 0;
  bool done_ = false;
};

class SqliteSource : public Source {
 public:
  SqliteSource(std::vector<std::string> files, ReadOptions options)
      : files_(std::move(files)), options_(std::move(options)) {}

  std::shared_ptr<arrow::Schema> schema() override {
    if (schema_ != nullptr) return schema_;
    const Database database(files_.front());
    const Statement statement = database.prepare(select_of(database, options_.query));
    const int num_columns = sqlite3_column_count(statement.get());
    std::vector<std::string> names;
    std::vector<std::shared_ptr<arrow::DataType>> types;
    for (int i = 0; i < num_columns; ++i) {
      names.emplace_back(sqlite3_column_name(statement.get(), i));
      types.push_back(declared_type(sqlite3_column_decltype(statement.get(), i)));
    }
    // What is declared may still hold anything, so the first rows are looked at as well.
    for (int row = 0; row < kRowsThatTellTypes && database.step(statement.get()); ++row) {
      for (int i = 0; i < num_columns; ++i) {
        auto& type = types[static_cast<std::size_t>(i)];
        const int stored = sqlite3_column_type(statement.get(), i);
        if (type == nullptr || type->id() != arrow::Type::DOUBLE || stored != SQLITE_INTEGER)
          type = widen(type, stored);
      }
    }
    picked_ = pick_columns(names, options_, files_.front());
    arrow::FieldVector fields;
    for (const int i : picked_) {
      const auto& type = types[static_cast<std::size_t>(i)];
      fields.push_back(arrow::field(names[static_cast<std::size_t>(i)], type == nullptr ? arrow::utf8() : type));
    }
    schema_ = arrow::schema(std::move(fields));
    return schema_;
  }
  std::unique_ptr<Piece> next() override {
    if (next_ == files_.size()) return nullptr;
    schema();
    const std::string& file = files_[next_++];
    const std::string query = select_of(Database(file), options_.query);
    return std::make_unique<SqlitePiece>(file, query, schema_, picked_, options_.piece_bytes);
  }
  std::string describe() const override { return fmt::format("sqlite({} files)", files_.size()); }

 private:
  std::vector<std::string> files_;
  ReadOptions options_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> picked_;
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Source> open_sqlite(std::vector<std::string> files, ReadOptions options) {
  return std::make_unique<SqliteSource>(std::move(files), std::move(options));
}

}  // namespace mobula::data
