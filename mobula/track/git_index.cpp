#include "mobula/track/git_index.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <memory>

namespace mobula::track {
namespace {

constexpr std::size_t kObjectIdBytes = 20;
constexpr std::size_t kFixedEntryBytes = 62;  // stat data, object id, flags
constexpr std::uint16_t kAssumeUnchanged = 0x8000;
constexpr std::uint16_t kExtended = 0x4000;
constexpr std::uint16_t kStageMask = 0x3000;
constexpr std::uint16_t kSkipWorktree = 0x4000;  // in the extended flags
constexpr std::uint32_t kTypeMask = 0170000;
constexpr std::uint32_t kSymbolicLink = 0120000;
constexpr std::uint32_t kSubmodule = 0160000;

/// Reads big-endian numbers and strings; `failed` once the bytes ran out.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  std::string_view take(std::size_t count) {
    if (count > bytes_.size() - position_) failed = true;
    if (failed) return {};
    position_ += count;
    return bytes_.substr(position_ - count, count);
  }
  template <class Unsigned>
  Unsigned number() {
    Unsigned value = 0;
    for (const char byte : take(sizeof(Unsigned))) {
      value = static_cast<Unsigned>(value << 8 | static_cast<unsigned char>(byte));
    }
    return value;
  }
  std::string_view until(char end) {
    const std::size_t found = bytes_.find(end, position_);
    if (found == std::string_view::npos) failed = true;
    if (failed) return {};
    const std::string_view text = take(found - position_);
    take(1);
    return text;
  }
  /// Version 4's variable-length number: how many bytes of the previous path to drop.
  std::size_t drop_count() {
    auto byte = number<std::uint8_t>();
    std::size_t value = byte & 0x7f;
    for (int more = 0; (byte & 0x80) != 0 && !failed; ++more) {
      if (more == 8) failed = true;
      byte = number<std::uint8_t>();
      value = (value + 1) << 7 | (byte & 0x7f);
    }
    return value;
  }
  std::size_t position() const { return position_; }
  std::size_t left() const { return bytes_.size() - position_; }

  bool failed = false;

 private:
  std::string_view bytes_;
  std::size_t position_ = 0;
};

GitIndexEntry read_entry(ByteReader& reader, std::uint32_t version, const std::string& previous_path) {
  GitIndexEntry entry;
  const std::size_t start = reader.position();
  reader.take(8);  // time of the inode's change
  entry.modified_seconds = reader.number<std::uint32_t>();
  entry.modified_nanoseconds = reader.number<std::uint32_t>();
  reader.take(8);  // device and inode
  entry.mode = reader.number<std::uint32_t>();
  reader.take(8);  // user and group
  entry.bytes = reader.number<std::uint32_t>();
  entry.object_id = reader.take(kObjectIdBytes);
  const auto flags = reader.number<std::uint16_t>();
  entry.unmerged = (flags & kStageMask) != 0;
  entry.assume_unchanged = (flags & kAssumeUnchanged) != 0;
  if ((flags & kExtended) != 0) {
    entry.assume_unchanged = entry.assume_unchanged || (reader.number<std::uint16_t>() & kSkipWorktree) != 0;
  }
  if (version == 4) {
    const std::size_t dropped = reader.drop_count();
    if (dropped > previous_path.size()) {
      reader.failed = true;
      return entry;
    }
    entry.path = previous_path.substr(0, previous_path.size() - dropped);
    entry.path += reader.until('\0');
  } else {
    entry.path = reader.until('\0');
    const std::size_t length = reader.position() - start - 1;
    // One to eight zero bytes round the entry up to a multiple of eight; the first of them was taken with the
    // path.
    reader.take(7 - length % 8);
  }
  return entry;
}

// The cached tree's first record is the root: "\0" (its empty path), its number of entries or -1, ...
std::optional<bool> read_cached_tree(std::string_view extension) {
  ByteReader reader(extension);
  reader.take(1);
  const std::string_view count = reader.until(' ');
  if (reader.failed || count.empty()) return std::nullopt;
  return count.front() != '-';
}

std::string hash_blob(std::string_view header, const std::filesystem::path& file) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha1(), nullptr);
  EVP_DigestUpdate(context.get(), header.data(), header.size());
  std::ifstream stream(file, std::ios::binary);
  std::array<char, 1 << 16> buffer;
  while (stream.read(buffer.data(), buffer.size()) || stream.gcount() > 0) {
    EVP_DigestUpdate(context.get(), buffer.data(), static_cast<std::size_t>(stream.gcount()));
  }
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  unsigned length = 0;
  EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(digest.data()), &length);
  digest.resize(length);
  return digest;
}

}  // namespace

std::optional<GitIndex> parse_git_index(std::string_view bytes) {
  ByteReader reader(bytes);
  if (reader.take(4) != "DIRC") return std::nullopt;
  const auto version = reader.number<std::uint32_t>();
  const auto num_entries = reader.number<std::uint32_t>();
  if (reader.failed || version < 2 || version > 4) return std::nullopt;
  if (num_entries > bytes.size() / (kFixedEntryBytes + 1)) return std::nullopt;

  GitIndex index;
  index.entries.reserve(num_entries);
  std::string previous_path;
  for (std::uint32_t i = 0; i < num_entries && !reader.failed; ++i) {
    index.entries.push_back(read_entry(reader, version, previous_path));
    previous_path = index.entries.back().path;
  }
  while (!reader.failed && reader.left() > kObjectIdBytes) {
    const std::string_view signature = reader.take(4);
    const std::string_view extension = reader.take(reader.number<std::uint32_t>());
    if (signature == "link") return std::nullopt;  // a split index: most entries stand in another file
    if (signature == "TREE") index.tree_is_current = read_cached_tree(extension);
  }
  if (reader.failed) return std::nullopt;
  return index;
}

bool differs_from_index(const GitIndexEntry& entry, const std::filesystem::path& work_tree,
                        std::filesystem::file_time_type index_time) {
  if (entry.unmerged) return true;
  if (entry.assume_unchanged) return false;
  const std::uint32_t type = entry.mode & kTypeMask;
  if (type == kSubmodule) return false;
  const std::filesystem::path file = work_tree / entry.path;
  struct stat info {};
  if (::lstat(file.c_str(), &info) != 0) return true;
  if ((info.st_mode & kTypeMask) != type) return true;
  if (type != kSymbolicLink && ((info.st_mode ^ entry.mode) & 0100) != 0) return true;
  if (static_cast<std::uint32_t>(info.st_size) != entry.bytes) return true;

  const bool same_time = static_cast<std::uint32_t>(info.st_mtim.tv_sec) == entry.modified_seconds &&
                         static_cast<std::uint32_t>(info.st_mtim.tv_nsec) == entry.modified_nanoseconds;
  std::error_code failure;
  const auto file_time = std::filesystem::last_write_time(file, failure);
  if (same_time && !failure && file_time < index_time) return false;

  if (type == kSymbolicLink) {
    std::string target(static_cast<std::size_t>(info.st_size) + 1, '\0');
    const ssize_t length = ::readlink(file.c_str(), target.data(), target.size());
    target.resize(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    std::string blob = fmt::format("blob {}", target.size());
    blob.push_back('\0');
    return hash_blob(blob + target, "/dev/null") != entry.object_id;
  }
  std::string header = fmt::format("blob {}", info.st_size);
  header.push_back('\0');
  return hash_blob(header, file) != entry.object_id;
}

}  // namespace mobula::track
