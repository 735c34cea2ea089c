/// Databases by their ADBC drivers (arrow.apache.org/adbc): shared libraries that are loaded when a database is read.
/// Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/record_batch.h>

#include <map>
#include <memory>
#include <string>

namespace mobula::data {

/// Returns a database's address without its password, for messages.
std::string without_password(const std::string& address);

/// One connection. Not thread-safe; the readers that query() gives keep it alive.
class DatabaseConnection : public std::enable_shared_from_this<DatabaseConnection> {
 public:
  /// Loads the driver (a name such as "postgresql", or a library's path) and connects. Throws Error(unavailable) where the
  /// driver is missing or the database does not answer, Error(io) where it refuses.
  static std::shared_ptr<DatabaseConnection> open(const std::string& driver, const std::string& address,
                                                  const std::map<std::string, std::string>& options);
  virtual ~DatabaseConnection() = default;

  /// Runs a statement that gives rows. Batches aim at `batch_bytes` where the driver lets one choose.
  virtual std::shared_ptr<arrow::RecordBatchReader> query(const std::string& statement, std::size_t batch_bytes) = 0;
  /// Runs a statement without rows.
  virtual void execute(const std::string& statement) = 0;
};

}  // namespace mobula::data
