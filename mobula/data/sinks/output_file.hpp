/// A file that Arrow's writers write to and that appears whole or not at all. Internal to this layer.
#pragma once

#include <arrow/io/interfaces.h>
#include <arrow/result.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mobula/base/files.hpp"

namespace mobula::data {

/// Buffers small writes. A remote file is sent as it is written where the store can take that back (s3://), else it waits in
/// a temporary folder until commit(). Not thread-safe.
class OutputFile : public arrow::io::OutputStream {
 public:
  explicit OutputFile(const std::string& path);
  ~OutputFile() override;

  arrow::Status Close() override;
  bool closed() const override { return closed_; }
  arrow::Result<std::int64_t> Tell() const override { return position_; }
  arrow::Status Write(const void* data, std::int64_t size) override;
  using arrow::io::OutputStream::Write;

  /// Appends bytes. Throws Error(io).
  void append(std::string_view bytes);
  /// Gives the file its name. Throws Error(io).
  void commit(bool durable);
  /// Throws what stopped a write, such as a full disk, else what the writer's status says.
  void check(const arrow::Status& status) const;
  std::int64_t size() const { return position_; }
  const std::string& path() const { return path_; }

 private:
  void write(std::string_view bytes);
  void flush();

  std::string path_;
  std::unique_ptr<TemporaryDirectory> staged_;       ///< holds a remote file until it is whole
  std::optional<AtomicFile> file_;                   ///< local or staged
  std::shared_ptr<arrow::io::OutputStream> stream_;  ///< of a remote file
  std::string buffer_;
  std::int64_t position_ = 0;
  bool closed_ = false;
  std::exception_ptr failure_;
};

}  // namespace mobula::data
