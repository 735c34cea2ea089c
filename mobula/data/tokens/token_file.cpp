#include "mobula/data/tokens/token_file.hpp"

#include <fmt/format.h>

#include <cstring>
#include <vector>

#include "mobula/base/error.hpp"

namespace mobula::data {
namespace {

struct Header {
  char magic[8];
  std::uint32_t width;
  std::uint32_t vocab_size;
  std::uint64_t count;
};
static_assert(sizeof(Header) == 24);
constexpr char kMagic[8] = "MOBTOK1";

template <class Id>
void write_ids(AtomicFile& file, std::span<const std::int32_t> ids) {
  constexpr size_t kBlock = size_t{1} << 18;
  std::vector<Id> block;
  for (size_t at = 0; at < ids.size(); at += kBlock) {
    const auto part = ids.subspan(at, std::min(kBlock, ids.size() - at));
    block.assign(part.begin(), part.end());
    file.write({reinterpret_cast<const char*>(block.data()), block.size() * sizeof(Id)});
  }
}

template <class Id>
void copy_ids(const std::byte* ids, size_t begin, std::span<std::int64_t> into) {
  // The header's 24 bytes keep ids aligned in the page-aligned mapping.
  const Id* const from = reinterpret_cast<const Id*>(ids) + begin;
  for (size_t i = 0; i < into.size(); ++i) into[i] = static_cast<std::int64_t>(from[i]);
}

}  // namespace

void write_token_file(const std::filesystem::path& path, std::span<const std::int32_t> ids, std::size_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || static_cast<size_t>(ids[i]) >= vocab_size) {
      throw_invalid(
          fmt::format("{}: token {} has id {}, outside the vocabulary of {}", path.string(), i, ids[i], vocab_size));
    }
  }
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.width = vocab_size <= 65536 ? 2 : 4;
  header.vocab_size = static_cast<std::uint32_t>(vocab_size);
  header.count = ids.size();
  AtomicFile file(path);
  file.write({reinterpret_cast<const char*>(&header), sizeof header});
  if (header.width == 2) {
    write_ids<std::uint16_t>(file, ids);
  } else {
    write_ids<std::uint32_t>(file, ids);
  }
  file.commit();
}

TokenFile::TokenFile(const std::filesystem::path& path) : file_(std::make_shared<const MappedFile>(path)) {
  const auto damaged = [&](std::string_view why) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: damaged token file: {}", path.string(), why),
                "remove it: it is made again from the text");
  };
  const auto bytes = file_->bytes();
  if (bytes.size() < sizeof(Header)) damaged("shorter than its header");
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) damaged("it does not begin with MOBTOK1");
  if (header.width != 2 && header.width != 4) damaged("ids are 2 or 4 bytes wide");
  const size_t room = (bytes.size() - sizeof header) / header.width;
  if (header.count != room || (bytes.size() - sizeof header) % header.width != 0) {
    damaged(fmt::format("its header promises {} ids, there is room for {}", header.count, room));
  }
  ids_ = bytes.data() + sizeof header;
  width_ = header.width;
  size_ = header.count;
  vocab_size_ = header.vocab_size;
}

void TokenFile::copy(std::size_t begin, std::span<std::int64_t> into) const {
  if (begin > size_ || into.size() > size_ - begin) throw_internal("tokens outside the token file");
  if (width_ == 2) {
    copy_ids<std::uint16_t>(ids_, begin, into);
  } else {
    copy_ids<std::uint32_t>(ids_, begin, into);
  }
}

}  // namespace mobula::data
