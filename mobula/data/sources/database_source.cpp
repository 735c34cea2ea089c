#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <cstdlib>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/plain_types.hpp"
#include "mobula/data/sources/database_connection.hpp"
#include "mobula/data/sources/open_source.hpp"

namespace mobula::data {
namespace {

constexpr int kConnectSeconds = 10;

/// What an address stands for.
struct Database {
  std::string driver;
  std::string address;  ///< as the driver wants it
};

Database parse_database(const std::string& path, const ReadOptions& options) {
  Database database{options.driver, path};
  const std::size_t colon = path.find("://");
  const std::string scheme = colon == std::string::npos ? "" : path.substr(0, colon);
  if (database.driver.empty()) database.driver = scheme == "postgres" ? "postgresql" : scheme;
  if (database.driver.empty()) {
    throw_invalid(fmt::format("{}: tells no driver", without_password(path)),
                  "name one (driver: sqlite), or write an address such as postgresql://user@host/database");
  }
  // Snowflake's driver knows addresses without a scheme: user:password@account/database/schema?warehouse=w.
  if (database.driver == "snowflake" && scheme == "snowflake") database.address = path.substr(colon + 3);
  // A host that swallows packets is given up, too.
  if (database.driver == "postgresql" && path.find("connect_timeout") == std::string::npos &&
      std::getenv("PGCONNECT_TIMEOUT") == nullptr) {
    database.address +=
        fmt::format("{}connect_timeout={}", path.find('?') == std::string::npos ? '?' : '&', kConnectSeconds);
  }
  return database;
}

/// Returns the SELECT that a query or a table's name stands for.
std::string select_of(const std::string& query, const std::string& place) {
  if (query.empty()) {
    throw_invalid(fmt::format("{}: no query", place), "name a table or a SELECT (--query, or query: in the source)");
  }
  if (query.find_first_of(" \t\n(") != std::string::npos) return query;
  std::string quoted = "\"";
  for (const char c : query) quoted += c == '"' ? "\"\"" : c == '.' ? "\".\"" : std::string(1, c);
  return fmt::format("SELECT * FROM {}\"", quoted);
}

class BatchPiece : public Piece {
 public:
  BatchPiece(std::shared_ptr<arrow::RecordBatch> batch, std::vector<int> picked, std::shared_ptr<arrow::Schema> schema,
             std::shared_ptr<const std::string> place, std::int64_t first_row)
      : batch_(std::move(batch)),
        picked_(std::move(picked)),
        schema_(std::move(schema)),
        place_(std::move(place)),
        first_row_(first_row) {}

  Block read() override {
    if (batch_ == nullptr) return {};
    check(batch_->ValidateFull(), *place_);
    Block block{to_plain(take(batch_->SelectColumns(picked_), *place_), schema_, *place_), place_};
    block.origin = std::make_shared<NumberedRows>(place_);
    block.first_row = first_row_;
    batch_.reset();
    return block;
  }

 private:
  std::shared_ptr<arrow::RecordBatch> batch_;
  std::vector<int> picked_;
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<const std::string> place_;
  std::int64_t first_row_;
};

class DatabaseSource : public Source {
 public:
  DatabaseSource(Database database, ReadOptions options, const std::string& place)
      : database_(std::move(database)),
        options_(std::move(options)),
        place_(std::make_shared<const std::string>(place)),
        statement_(select_of(options_.query, place)) {}

  std::shared_ptr<arrow::Schema> schema() override {
    if (schema_ != nullptr) return schema_;
    const auto connection = DatabaseConnection::open(database_.driver, database_.address, options_.driver_options);
    // What only reads must not change anything, whatever the query says.
    if (database_.driver == "postgresql") {
      connection->execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY");
    }
    reader_ = connection->query(statement_, options_.piece_bytes);
    const auto plain = plain_schema(*reader_->schema());
    picked_ = pick_columns(plain->field_names(), options_, *place_);
    arrow::FieldVector fields;
    for (const int i : picked_) fields.push_back(plain->field(i));
    schema_ = arrow::schema(std::move(fields));
    return schema_;
  }
  std::unique_ptr<Piece> next() override {
    schema();
    std::shared_ptr<arrow::RecordBatch> batch;
    const arrow::Status status = reader_->ReadNext(&batch);
    if (!status.ok()) {
      throw Error(ErrorCode::io, fmt::format("{}: after {} rows: {}", *place_, num_rows_, status.message()));
    }
    if (batch == nullptr) return nullptr;
    const std::int64_t first = num_rows_;
    num_rows_ += batch->num_rows();
    return std::make_unique<BatchPiece>(std::move(batch), picked_, schema_, place_, first);
  }
  std::string describe() const override { return fmt::format("database({})", *place_); }

 private:
  Database database_;
  ReadOptions options_;
  std::shared_ptr<const std::string> place_;
  std::string statement_;
  std::shared_ptr<arrow::RecordBatchReader> reader_;
  std::vector<int> picked_;
  std::shared_ptr<arrow::Schema> schema_;
  std::int64_t num_rows_ = 0;
};

}  // namespace

std::unique_ptr<Source> open_database(const std::vector<std::string>& addresses, ReadOptions options) {
  if (addresses.size() != 1) throw_invalid("database: one address is expected");
  return std::make_unique<DatabaseSource>(parse_database(addresses.front(), options), options,
                                          without_password(addresses.front()));
}

}  // namespace mobula::data
