/// Disk space for objects that memory has no room for: one file without a name, so that nothing is left behind however
/// this process ends.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "mobula/base/descriptor.hpp"
#include "mobula/core/local/free_ranges.hpp"

namespace mobula {

/// Not thread-safe.
class SpillFile {
 public:
  /// Opens a file in `folder` (made where it is missing) that takes at most `quota` bytes; 0: half of what is free there
  /// now. Throws Error(io) that names the folder.
  SpillFile(std::filesystem::path folder, std::uint64_t quota);

  /// Writes bytes; returns where they are, or nothing where they don't fit into what is left of the quota.
  /// Throws OutOfMemoryError where the disk is full, Error(io) where it fails; nothing is kept then.
  std::optional<std::uint64_t> write(std::string_view bytes);
  /// Reads `size` bytes that were written at `offset`. Throws Error(io).
  void read(std::uint64_t offset, char* to, std::size_t size) const;
  /// Returns what tells bytes that come back from those that were written. Thread-safe.
  static std::uint64_t checksum(std::string_view bytes) noexcept;
  /// Gives the disk space back.
  void free(std::uint64_t offset, std::size_t size);

  std::uint64_t used() const noexcept { return used_; }
  std::uint64_t quota() const noexcept { return quota_; }
  const std::filesystem::path& folder() const noexcept { return folder_; }

 private:
  static constexpr std::uint64_t kBlock = 4096;
  static std::uint64_t whole_blocks(std::uint64_t bytes) { return (bytes + kBlock - 1) / kBlock * kBlock; }

  std::filesystem::path folder_;
  std::uint64_t quota_;
  Descriptor file_;
  FreeRanges free_;
  std::uint64_t end_ = 0;
  std::uint64_t used_ = 0;
};

}  // namespace mobula
