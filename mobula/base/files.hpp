/// Files that are either whole or absent: everything is written under a temporary name, synced and renamed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace mobula {

/// Reads a whole file. Throws Error(not_found), Error(io), or Error(resource) where it is larger than
/// `max_bytes`.
std::string read_file(const std::filesystem::path& path, std::size_t max_bytes = std::size_t{1} << 40);

/// Writes a file under a temporary name in the same folder, syncs it, renames it over `path`, and syncs the
/// folder. After a crash or a full disk the old content is still there and the temporary file is removed.
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

/// A file that appears under its name only when commit() succeeded; otherwise nothing is left of it.
class AtomicFile {
 public:
  /// Opens a temporary file beside `path`; the folder is made where it is missing. Throws Error(io).
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Removes the temporary file unless commit() succeeded.
  ~AtomicFile();

  /// Appends bytes. Throws Error(io) that names the file.
  void write(std::string_view bytes);
  /// Syncs, renames to the final name, syncs the folder. Without `durable` nothing is synced: whole or absent still,
  /// unless the machine itself goes down within the next seconds.
  void commit(bool durable = true);
  /// Returns the descriptor, for writers that place bytes themselves.
  int descriptor() const noexcept { return descriptor_; }

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

/// A file mapped read-only into memory. Moving keeps the addresses.
class MappedFile {
 public:
  MappedFile() = default;
  /// Maps the whole file; an empty file maps to an empty span. Throws Error(not_found) or Error(io).
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {static_cast<const std::byte*>(address_), size_}; }
  std::string_view text() const noexcept { return {static_cast<const char*>(address_), size_}; }

 private:
  void* address_ = nullptr;
  std::size_t size_ = 0;
};

/// A folder of its own below the system's temporary folder, removed with all it holds at the end.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(std::string_view prefix = "mobula");
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

/// Makes the entries of a folder durable (renames, new files). Throws Error(io).
void sync_directory(const std::filesystem::path& directory);

/// Points the symbolic link `link` at `target` (as written) in one step, replacing a link of that name.
void replace_symlink(const std::filesystem::path& target, const std::filesystem::path& link);

/// Returns the user's cache folder for Mobula: $MOBULA_CACHE, else $XDG_CACHE_HOME/mobula, else
/// ~/.cache/mobula.
std::filesystem::path cache_directory();

}  // namespace mobula
