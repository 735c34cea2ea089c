/// Zip archives whose files lie uncompressed, as torch.save writes them (PKWARE APPNOTE 6.3.10, with zip64).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

namespace mobula::nn {

/// Finds the files of an archive by name. Holds views of the archive's bytes.
class ZipArchive {
 public:
  /// Reads the central directory; `name` leads messages. Throws Error(corrupt) for a damaged or truncated archive,
  /// Error(unsupported) for compressed or encrypted files. Never reads outside `bytes`.
  ZipArchive(std::span<const std::byte> bytes, std::string_view name);

  /// Returns a file's bytes, or nothing.
  const std::span<const std::byte>* find(const std::string& file) const;
  /// Returns all files by name.
  const std::unordered_map<std::string, std::span<const std::byte>>& files() const noexcept { return files_; }

 private:
  std::unordered_map<std::string, std::span<const std::byte>> files_;
};

}  // namespace mobula::nn
