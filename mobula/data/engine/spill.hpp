/// Rows on disk, when they don't fit the memory that an operator may take. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/io/type_fwd.h>
#include <arrow/ipc/type_fwd.h>
#include <arrow/type_fwd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/files.hpp"

namespace mobula::data {

/// The disk that one operator may use: a folder of its own, and a quota. Thread-safe.
class SpillSpace {
 public:
  /// `directory` empty: the system's temporary folder. `what` (the operator) leads errors.
  SpillSpace(const std::filesystem::path& directory, std::uint64_t quota, std::string what);

  /// Counts bytes about to be written. Throws Error(resource) naming operator, bytes and setting, over the quota.
  void charge(std::int64_t bytes);
  std::filesystem::path new_file();
  const std::string& what() const { return what_; }

 private:
  std::string what_;
  std::uint64_t quota_;
  std::atomic<std::uint64_t> used_{0};
  std::atomic<int> next_{0};
  std::unique_ptr<TemporaryDirectory> own_;
  std::filesystem::path directory_;
};

/// Batches of one schema that are appended, then read back in order, any number of times. Small writes are gathered.
class SpillFile {
 public:
  SpillFile(std::shared_ptr<SpillSpace> space, std::shared_ptr<arrow::Schema> schema);
  ~SpillFile();

  /// Appends rows. Throws Error(io), Error(resource).
  void append(const std::shared_ptr<arrow::RecordBatch>& batch);
  /// Ends writing. Nothing is appended afterwards.
  void finish();
  std::int64_t num_rows() const { return num_rows_; }
  std::int64_t num_bytes() const { return num_bytes_; }
  /// Opens a reader from the first batch on. After finish(); several may be open at once.
  std::shared_ptr<arrow::RecordBatchReader> read() const;

 private:
  void flush();

  std::shared_ptr<SpillSpace> space_;
  std::shared_ptr<arrow::Schema> schema_;
  std::filesystem::path path_;
  std::shared_ptr<arrow::io::FileOutputStream> output_;
  std::shared_ptr<arrow::ipc::RecordBatchWriter> writer_;
  std::vector<std::shared_ptr<arrow::RecordBatch>> waiting_;
  std::int64_t waiting_bytes_ = 0;
  std::int64_t num_rows_ = 0;
  std::int64_t num_bytes_ = 0;
};

/// Puts batches of one schema into one. Empty input gives an empty batch.
std::shared_ptr<arrow::RecordBatch> combine_batches(const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches,
                                                    const std::shared_ptr<arrow::Schema>& schema);

}  // namespace mobula::data
