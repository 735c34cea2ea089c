#include "mobula/text/sentencepiece/protobuf_reader.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "mobula/base/error.hpp"

namespace mobula::text {

void ProtobufReader::fail(std::string_view what) const {
  throw Error(ErrorCode::corrupt, fmt::format("{}: {}", name_, what),
              "expected tokenizer.json, a SentencePiece model or a tiktoken file; the file may be damaged");
}

std::uint64_t ProtobufReader::varint() {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    const auto byte = static_cast<unsigned char>(take(1)[0]);
    if (shift < 64) value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  fail("a number of more than ten bytes");
}

std::string_view ProtobufReader::take(std::size_t size) {
  if (size > rest_.size()) fail("the message is cut off");
  const std::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

bool ProtobufReader::next() {
  if (rest_.empty()) return false;
  const std::uint64_t key = varint();
  field_ = static_cast<std::uint32_t>(key >> 3);
  if (key >> 3 == 0 || key >> 32 != 0) fail("a field without a number");
  switch (key & 7) {
    case 0:
      kind_ = Kind::integer;
      integer_ = varint();
      return true;
    case 1:
      kind_ = Kind::fixed64;
      bytes_ = take(8);
      return true;
    case 2: {
      kind_ = Kind::bytes;
      const std::uint64_t size = varint();
      if (size > rest_.size()) fail(fmt::format("field {} is cut off", field_));
      bytes_ = take(size);
      return true;
    }
    case 5:
      kind_ = Kind::fixed32;
      bytes_ = take(4);
      return true;
    default:
      fail(fmt::format("field {} is of unknown kind {}", field_, key & 7));
  }
}

std::string_view ProtobufReader::bytes() const {
  if (kind_ != Kind::bytes) fail(fmt::format("field {} is no text", field_));
  return bytes_;
}

std::uint64_t ProtobufReader::integer() const {
  if (kind_ != Kind::integer) fail(fmt::format("field {} is no integer", field_));
  return integer_;
}

float ProtobufReader::number() const {
  if (kind_ != Kind::fixed32) fail(fmt::format("field {} is no number", field_));
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < 4; ++i)
    bits |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes_[i])) << (8 * i);
  return std::bit_cast<float>(bits);
}

}  // namespace mobula::text
