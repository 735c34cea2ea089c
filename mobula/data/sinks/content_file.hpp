/// A file of text or of members that is compressed as a whole where its name or the options say so. Internal to this layer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "mobula/data/sinks/output_file.hpp"
#include "mobula/data/sinks/write_options.hpp"
#include "mobula/data/storage/compression.hpp"

namespace mobula::data {

/// Returns what the compression of options adds to the extension of files that are compressed as a whole, such as ".gz". Throws
/// Error(invalid_argument) for one that such files don't have.
std::string content_file_ending(const WriteOptions& options);

/// Appears whole or not at all, as OutputFile. Not thread-safe.
class ContentFile {
 public:
  /// Throws Error(invalid_argument) where the name tells another compression than the options.
  ContentFile(const std::string& path, const WriteOptions& options);
  void append(std::string_view bytes);
  void commit();
  /// Returns the bytes appended so far, before compression.
  std::int64_t size() const { return size_; }
  const std::string& path() const { return file_.path(); }

 private:
  OutputFile file_;
  std::optional<Compressor> compressor_;
  bool durable_;
  std::int64_t size_ = 0;
};

}  // namespace mobula::data
