/// Token ids on disk: written once, mapped by every worker.
///
/// Layout, little-endian: "MOBTOK1\0", bytes an id (u32: 2 or 4), vocabulary size (u32), number of ids (u64),
/// then the ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "mobula/base/files.hpp"

namespace mobula::data {

/// Writes a token file, atomically: two bytes an id where the vocabulary allows it, four otherwise.
/// Throws Error(invalid_argument) for an id outside [0, vocab_size).
void write_token_file(const std::filesystem::path& path, std::span<const std::int32_t> ids, std::size_t vocab_size);

/// A mapped token file. Immutable and thread-safe; copies share the mapping.
class TokenFile {
 public:
  /// Maps and checks a file. Throws Error(not_found), or Error(corrupt) where its header and size disagree.
  explicit TokenFile(const std::filesystem::path& path);

  std::size_t size() const noexcept { return size_; }
  std::size_t vocab_size() const noexcept { return vocab_size_; }
  /// Copies ids [begin, begin + into.size()) as 64-bit numbers. The range must lie inside the file.
  void copy(std::size_t begin, std::span<std::int64_t> into) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  const std::byte* ids_ = nullptr;
  std::size_t width_ = 0;
  std::size_t size_ = 0;
  std::size_t vocab_size_ = 0;
};

}  // namespace mobula::data
