/// Writers of one file, by format. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <memory>
#include <optional>
#include <string>

#include "mobula/data/engine/executor.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sinks/write_options.hpp"

namespace mobula::data {

/// Rows in a file's own form, or why there are none.
struct PreparedRows : PreparedBlock {
  std::string text;               ///< formats of text
  std::optional<RowError> error;  ///< counted from the block's first row
};

/// One open file.
class FileWriter {
 public:
  virtual ~FileWriter() = default;
  /// Appends rows. Throws Error(io).
  virtual void write(const PreparedRows& rows) = 0;
  /// Returns bytes written or held so far.
  virtual std::int64_t size() const = 0;
  /// Ends the file and gives it its name.
  virtual void commit() = 0;
};

/// A format for one set of columns.
class Format {
 public:
  virtual ~Format() = default;
  /// Formats a block; called by several threads at once.
  virtual std::unique_ptr<PreparedRows> prepare(Block block) const = 0;
  /// Opens a file under a temporary name.
  virtual std::unique_ptr<FileWriter> open(const std::string& path) const = 0;
  /// Returns the files' extension, such as ".csv".
  virtual std::string extension() const = 0;
};

/// Makes a format by name: csv, jsonl, text, parquet, ipc. Throws Error(unsupported) for columns that it can't hold
/// (nested and binary ones in CSV; anything but one column of strings in text), Error(invalid_argument) for an unknown
/// name or compression.
std::unique_ptr<Format> make_format(const std::string& name, std::shared_ptr<arrow::Schema> schema,
                                    const WriteOptions& options);

std::unique_ptr<Format> make_csv_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options);
std::unique_ptr<Format> make_jsonl_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options);
std::unique_ptr<Format> make_text_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options);
std::unique_ptr<Format> make_parquet_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options);
std::unique_ptr<Format> make_ipc_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options);
std::unique_ptr<Format> make_tar_format(std::shared_ptr<arrow::Schema> schema, const WriteOptions& options);

/// Opens a file that prepared text is appended to, after `header`.
std::unique_ptr<FileWriter> open_text_writer(const std::string& path, const std::string& header,
                                             const WriteOptions& options);

}  // namespace mobula::data
