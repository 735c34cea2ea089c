/// Bytes that cross a process boundary: little-endian numbers and length-prefixed strings, read with bounds
/// checked.
///
///     WireWriter out; out.number(rank); out.text(name);
///     WireReader in(out.bytes()); int rank = in.number<int>(); std::string name(in.text());
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include "mobula/base/error.hpp"

namespace mobula {

/// Appends values to a growing string.
class WireWriter {
 public:
  /// Appends the bytes of a trivially copyable value, without padding in front of it.
  template <class T>
  requires std::is_trivially_copyable_v<T>
  void number(T value) { raw(&value, sizeof value); }
  /// Appends a length and the bytes.
  void text(std::string_view value) {
    number<std::uint64_t>(value.size());
    raw(value.data(), value.size());
  }
  /// Appends bytes without a length.
  void raw(const void* data, std::size_t size) { bytes_.append(static_cast<const char*>(data), size); }

  const std::string& bytes() const noexcept { return bytes_; }
  std::string take() noexcept { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads what a WireWriter wrote, and throws Error(corrupt) rather than read past the end. Does not own the
/// bytes.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) noexcept : rest_(bytes) {}

  template <class T>
  requires std::is_trivially_copyable_v<T> T number() {
    T value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  /// Returns a view into the bytes that were read from.
  std::string_view text() {
    const auto size = number<std::uint64_t>();
    if (size > rest_.size()) throw_truncated(size);
    return {take(static_cast<std::size_t>(size)), static_cast<std::size_t>(size)};
  }
  /// Returns a pointer to the next `size` bytes and steps over them.
  const char* take(std::size_t size) {
    if (size > rest_.size()) throw_truncated(size);
    const char* at = rest_.data();
    rest_.remove_prefix(size);
    return at;
  }
  std::size_t remaining() const noexcept { return rest_.size(); }

 private:
  [[noreturn]] void throw_truncated(std::uint64_t wanted) const;

  std::string_view rest_;
};

}  // namespace mobula
