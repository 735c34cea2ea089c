/// Bytes that cross a process boundary: little-endian numbers and length-prefixed strings, read with bounds
/// checked.
///
///     WireWriter out; out.number(rank); out.text(name);
///     WireReader in(out.bytes()); int rank = in.number<int>(); std::string name(in.text());
#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "mobula/base/error.hpp"

namespace mobula {

class HandleReader;
class HandleWriter;

/// Appends values to a growing string, or to memory that was set aside for them; or only counts their bytes.
class WireWriter {
 public:
  struct Counting {};

  WireWriter() = default;
  /// Makes a writer that keeps nothing, to learn from size() how much room a value takes.
  explicit WireWriter(Counting) noexcept : where_(Where::nowhere) {}
  /// Makes a writer into `capacity` bytes of borrowed memory. Writing past them throws Error(internal).
  WireWriter(char* memory, std::size_t capacity) noexcept { write_into(memory, capacity); }
  WireWriter(const WireWriter&) = delete;
  WireWriter& operator=(const WireWriter&) = delete;
  virtual ~WireWriter() = default;

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
  void raw(const void* data, std::size_t size) {
    if (where_ == Where::string) [[likely]] {
      bytes_.append(static_cast<const char*>(data), size);
    } else {
      raw_elsewhere(data, size);
    }
  }
  /// Pads until the next byte's place is a multiple of `alignment` (a power of two, at most 128), so that what follows can
  /// be used where it lies: see WireReader::keeper().
  void align(std::size_t alignment);
  /// Announces how many bytes the value that comes next takes, so that they can be put where they stay. Before
  /// anything is written.
  virtual void expect(std::size_t size);

  /// Returns who numbers the handles in what is written; null where there may be none.
  HandleWriter* handles() const noexcept { return handles_; }
  void set_handles(HandleWriter* handles) noexcept { handles_ = handles; }

  std::size_t size() const noexcept { return where_ == Where::string ? bytes_.size() : used_; }
  bool counting() const noexcept { return where_ == Where::nowhere; }
  /// Returns what was written; nothing of a writer that counts.
  std::string_view bytes() const noexcept {
    if (where_ == Where::string) return bytes_;
    return where_ == Where::memory ? std::string_view(memory_, used_) : std::string_view();
  }
  /// Returns the string that was written to, and begins a new one.
  std::string take() noexcept { return std::exchange(bytes_, {}); }

 protected:
  /// Writes into `capacity` bytes of borrowed memory from now on.
  void write_into(char* memory, std::size_t capacity) noexcept {
    where_ = Where::memory;
    memory_ = memory;
    capacity_ = capacity;
    used_ = 0;
  }

 private:
  enum class Where : std::uint8_t { string, memory, nowhere };
  void raw_elsewhere(const void* data, std::size_t size);

  Where where_ = Where::string;
  HandleWriter* handles_ = nullptr;
  std::string bytes_;
  char* memory_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;
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
  /// Steps over what WireWriter::align() wrote. The bytes may lie unaligned all the same, inside a message.
  void align() { take(number<std::uint8_t>()); }

  /// Returns what keeps the bytes where they are, for values that point into them instead of copying; null where they may
  /// be gone when the reader is. The bytes may be shared with others, other processes too: nobody may write to them.
  std::shared_ptr<const void> keeper() const noexcept { return keeper_ == nullptr ? nullptr : *keeper_; }
  /// Tells whether the value is only looked at (View). If not, it is the caller's, who may change it: a type that can be
  /// changed then copies the bytes although there is a keeper.
  bool read_only() const noexcept { return read_only_; }
  /// `keeper` is borrowed for as long as the reader is used.
  void set_keeper(const std::shared_ptr<const void>& keeper, bool read_only) noexcept {
    keeper_ = &keeper;
    read_only_ = read_only;
  }

  /// Returns who finds the handles in these bytes; null: whoever does in this process (handle_reader()).
  HandleReader* handles() const noexcept { return handles_; }
  void set_handles(HandleReader* handles) noexcept { handles_ = handles; }

 private:
  [[noreturn]] void throw_truncated(std::uint64_t wanted) const;

  std::string_view rest_;
  HandleReader* handles_ = nullptr;
  const std::shared_ptr<const void>* keeper_ = nullptr;
  bool read_only_ = false;
};

}  // namespace mobula
