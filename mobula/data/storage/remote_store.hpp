/// What a place outside this machine can do. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/io/type_fwd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mobula::data {

/// What is known of a path.
struct StoredInfo {
  bool exists = false;
  bool folder = false;
  std::uint64_t bytes = 0;
  std::string version;  ///< changes when the content does; empty where nothing tells
};

/// An object store, or the web. Requests are repeated with growing pauses where that may help, and end in bounded time.
/// Thread-safe. Throws Error naming the path: not_found, unavailable (no answer), io (refused).
class RemoteStore {
 public:
  virtual ~RemoteStore() = default;
  virtual StoredInfo look(const std::string& path) = 0;
  /// Lists all files below a folder, as whole paths.
  virtual std::vector<std::string> list(const std::string& folder) = 0;
  virtual std::shared_ptr<arrow::io::RandomAccessFile> open(const std::string& path) = 0;
  /// Makes a file that is there once the stream is closed. Abort() leaves nothing where `aborts(path)`; else the stream must
  /// not be begun before all content is there.
  virtual std::shared_ptr<arrow::io::OutputStream> create(const std::string& path) = 0;
  virtual bool aborts(const std::string& path) const = 0;
  virtual void remove(const std::string& path) = 0;
};

/// Returns the store of a path's scheme; it lives as long as the process. Throws as parse_remote_path does.
RemoteStore& remote_store(const std::string& path);

/// Amazon's S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage: Arrow's own clients, of which S3's library
/// is loaded at the first use.
std::unique_ptr<RemoteStore> make_object_store();
/// Web servers, read by ranges of bytes; a file of a server without ranges is fetched as a whole.
std::unique_ptr<RemoteStore> make_web_store();

}  // namespace mobula::data
