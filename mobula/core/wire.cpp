#include "mobula/core/wire.hpp"

#include <fmt/format.h>

namespace mobula {

void WireWriter::expect(std::size_t size) {
  if (where_ == Where::string) bytes_.reserve(bytes_.size() + size);
}

void WireWriter::align(std::size_t alignment) {
  static constexpr char kZeros[128] = {};
  const auto padding = static_cast<std::uint8_t>((alignment - (size() + 1) % alignment) % alignment);
  number(padding);
  raw(kZeros, padding);
}

void WireWriter::raw_elsewhere(const void* data, std::size_t size) {
  if (where_ == Where::memory) {
    if (size > capacity_ - used_) {
      throw Error(ErrorCode::internal,
                  fmt::format("a value writes more than the {} bytes that it announced", capacity_),
                  "its Codec must write the same bytes each time, and nobody may change it meanwhile");
    }
    if (size != 0) std::memcpy(memory_ + used_, data, size);
  }
  used_ += size;
}

void WireReader::throw_truncated(std::uint64_t wanted) const {
  throw Error(ErrorCode::corrupt,
              fmt::format("encoded value is cut short: {} bytes expected, {} left", wanted, rest_.size()),
              "writer and reader must use the same type and the same build of the program");
}

}  // namespace mobula
