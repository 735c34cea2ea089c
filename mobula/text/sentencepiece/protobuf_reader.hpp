/// Reading protocol buffers' wire format field by field (protobuf.dev, "Encoding"), with every length checked.
#pragma once

#include <cstdint>
#include <string_view>

namespace mobula::text {

/// Walks the fields of one message. Throws Error(corrupt) that leads with `name` where the message is cut off or malformed.
///
///     ProtobufReader reader(bytes, name);
///     while (reader.next()) if (reader.field() == 1) use(reader.bytes());
class ProtobufReader {
 public:
  ProtobufReader(std::string_view message, std::string_view name) : rest_(message), name_(name) {}

  /// Moves to the next field; returns false at the end.
  bool next();
  std::uint32_t field() const { return field_; }
  /// Returns a length-delimited field's bytes. Each of these throws where the field is of another kind.
  std::string_view bytes() const;
  std::uint64_t integer() const;
  bool boolean() const { return integer() != 0; }
  float number() const;
  [[noreturn]] void fail(std::string_view what) const;

 private:
  enum class Kind : std::uint8_t { integer, fixed64, bytes, fixed32 };
  std::uint64_t varint();
  std::string_view take(std::size_t size);

  std::string_view rest_;
  std::string_view name_;
  std::uint32_t field_ = 0;
  Kind kind_ = Kind::integer;
  std::uint64_t integer_ = 0;
  std::string_view bytes_;
};

}  // namespace mobula::text
