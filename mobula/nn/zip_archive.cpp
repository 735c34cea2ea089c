#include "mobula/nn/zip_archive.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

#include "mobula/base/error.hpp"

namespace mobula::nn {
namespace {

constexpr std::uint32_t kLocalHeader = 0x04034b50, kCentralHeader = 0x02014b50, kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64 = 0x06064b50, kEnd64Locator = 0x07064b50;
constexpr std::size_t kEndSize = 22, kMaxComment = 65535, kCentralSize = 46, kLocalSize = 30, kLocatorSize = 20;
constexpr std::uint64_t kMaxFiles = 1'000'000;

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  template <class T>
  T at(std::uint64_t offset) const {
    T value;
    std::memcpy(&value, part(offset, sizeof value).data(), sizeof value);
    return value;
  }
  std::span<const std::byte> part(std::uint64_t offset, std::uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) {
      fail(fmt::format("the archive points to bytes {} to {}, it has {}: truncated?", offset, offset + size,
                       bytes_.size()));
    }
    return bytes_.subspan(offset, size);
  }
  std::uint64_t size() const { return bytes_.size(); }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {}", name_, what));
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view name_;
};

std::uint64_t find_end(const Reader& in) {
  if (in.size() < kEndSize) in.fail("too short for a zip archive");
  const std::uint64_t last = in.size() - kEndSize;
  for (std::uint64_t back = 0; back <= std::min<std::uint64_t>(last, kMaxComment); ++back) {
    if (in.at<std::uint32_t>(last - back) == kEnd) return last - back;
  }
  in.fail("no end of a zip archive: truncated, or written by torch before 1.6?");
}

struct Directory {
  std::uint64_t num_files, offset;
};

Directory find_directory(const Reader& in) {
  const std::uint64_t end = find_end(in);
  Directory directory{in.at<std::uint16_t>(end + 10), in.at<std::uint32_t>(end + 16)};
  const bool wide = directory.num_files == 0xFFFF || directory.offset == 0xFFFFFFFF;
  if (wide && end >= kLocatorSize && in.at<std::uint32_t>(end - kLocatorSize) == kEnd64Locator) {
    const auto end64 = in.at<std::uint64_t>(end - kLocatorSize + 8);
    if (in.at<std::uint32_t>(end64) != kEnd64) in.fail("the zip64 end of the archive isn't where it should be");
    directory = {in.at<std::uint64_t>(end64 + 32), in.at<std::uint64_t>(end64 + 48)};
  }
  if (directory.num_files > kMaxFiles) in.fail(fmt::format("{} files are too many", directory.num_files));
  return directory;
}

struct Sizes {
  std::uint64_t compressed, size, header;
};

// Sizes of 2^32 - 1 stand in the extra field 1, those alone, in this order.
void read_wide_sizes(const Reader& in, std::uint64_t offset, std::uint64_t length, Sizes& sizes) {
  const std::uint64_t end = offset + length;
  while (offset + 4 <= end) {
    const std::uint64_t field_end = offset + 4 + in.at<std::uint16_t>(offset + 2);
    if (field_end > end) in.fail("an extra field is longer than its place");
    if (in.at<std::uint16_t>(offset) == 1) {
      std::uint64_t place = offset + 4;
      for (std::uint64_t* value : {&sizes.size, &sizes.compressed, &sizes.header}) {
        if (*value != 0xFFFFFFFF) continue;
        if (place + 8 > field_end) in.fail("a zip64 field is too short");
        *value = in.at<std::uint64_t>(place);
        place += 8;
      }
      return;
    }
    offset = field_end;
  }
}

}  // namespace

ZipArchive::ZipArchive(std::span<const std::byte> bytes, std::string_view name) {
  const Reader in(bytes, name);
  const Directory directory = find_directory(in);
  std::uint64_t at = directory.offset;
  for (std::uint64_t i = 0; i < directory.num_files; ++i) {
    if (in.at<std::uint32_t>(at) != kCentralHeader) in.fail(fmt::format("entry {} of the directory is damaged", i));
    const auto flags = in.at<std::uint16_t>(at + 8), method = in.at<std::uint16_t>(at + 10);
    const auto name_size = in.at<std::uint16_t>(at + 28), extra_size = in.at<std::uint16_t>(at + 30),
               comment_size = in.at<std::uint16_t>(at + 32);
    Sizes sizes{in.at<std::uint32_t>(at + 20), in.at<std::uint32_t>(at + 24), in.at<std::uint32_t>(at + 42)};
    const auto text = in.part(at + kCentralSize, name_size);
    const std::string file(reinterpret_cast<const char*>(text.data()), text.size());
    in.part(at + kCentralSize + name_size, extra_size);
    read_wide_sizes(in, at + kCentralSize + name_size, extra_size, sizes);
    if (method != 0 || (flags & 1) != 0 || sizes.compressed != sizes.size) {
      throw Error(
          ErrorCode::unsupported,
          fmt::format("{}: '{}' is compressed or encrypted, which torch.save never does", name, file.substr(0, 200)));
    }
    if (in.at<std::uint32_t>(sizes.header) != kLocalHeader) {
      in.fail(fmt::format("'{}' doesn't begin where the directory says", file.substr(0, 200)));
    }
    const std::uint64_t data =
        sizes.header + kLocalSize + in.at<std::uint16_t>(sizes.header + 26) + in.at<std::uint16_t>(sizes.header + 28);
    if (!files_.emplace(file, in.part(data, sizes.size)).second) {
      in.fail(fmt::format("'{}' occurs twice", file.substr(0, 200)));
    }
    at += kCentralSize + name_size + extra_size + comment_size;
  }
}

const std::span<const std::byte>* ZipArchive::find(const std::string& file) const {
  const auto found = files_.find(file);
  return found == files_.end() ? nullptr : &found->second;
}

}  // namespace mobula::nn
