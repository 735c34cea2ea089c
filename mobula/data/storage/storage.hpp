/// Files by path, wherever they lie: on this machine, in object stores (s3://, gs://, abfs://), on web servers.
/// Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/io/type_fwd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/data/storage/remote_store.hpp"

namespace mobula::data {

/// Tells what a path stands for; one that stands for nothing is no error.
StoredInfo look_at(const std::string& path);
/// Reads a whole file. Throws Error(not_found), and Error(resource) past `max_bytes`.
std::string read_stored(const std::string& path, std::size_t max_bytes);
/// Writes a whole file, or nothing.
void write_stored(const std::string& path, std::string_view content);
/// Removes a file; one that is not there is no error.
void remove_stored(const std::string& path);
/// Lists all files below a folder, sorted. Throws Error(not_found) where there is no such folder.
std::vector<std::string> files_below(const std::string& folder);
/// Opens a file to be read anywhere; several threads may read it. Throws Error(not_found), Error(corrupt) for 0 bytes where
/// `kind` (such as "a Parquet file") says what is expected.
std::shared_ptr<arrow::io::RandomAccessFile> open_stored(const std::string& path, std::string_view kind = {});

/// Reads a file front to back; a remote one some pieces ahead. Not thread-safe.
class StoredStream {
 public:
  /// Throws Error(not_found).
  explicit StoredStream(const std::string& path, std::uint64_t offset = 0);
  StoredStream(const StoredStream&) = delete;
  StoredStream& operator=(const StoredStream&) = delete;
  ~StoredStream();
  /// Reads until `size` bytes are there or the file ends; returns how many came.
  std::size_t read(void* to, std::size_t size);

 private:
  struct Ahead;
  std::string path_;
  int descriptor_ = -1;
  std::unique_ptr<Ahead> ahead_;
};

/// A file of this machine with a stored file's content: itself, or a copy that goes with this object.
class LocalCopy {
 public:
  explicit LocalCopy(const std::string& path);
  const std::string& path() const { return path_; }

 private:
  std::optional<TemporaryDirectory> folder_;
  std::string path_;
};

}  // namespace mobula::data
