/// UTF-8: reading, writing, and repairing what is not valid.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::text {

/// Returns the number of bytes of the character whose first byte is `lead`; the text must be valid.
inline std::size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// Tells whether `byte` continues a character.
inline bool is_utf8_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

/// Reads the character at `at` of valid text and moves `at` behind it.
inline char32_t next_code_point(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i])); };
  const char32_t lead = byte(at);
  if (lead < 0x80) {
    at += 1;
    return lead;
  }
  if (lead < 0xE0) {
    const char32_t value = (lead & 0x1F) << 6 | (byte(at + 1) & 0x3F);
    at += 2;
    return value;
  }
  if (lead < 0xF0) {
    const char32_t value = (lead & 0x0F) << 12 | (byte(at + 1) & 0x3F) << 6 | (byte(at + 2) & 0x3F);
    at += 3;
    return value;
  }
  const char32_t value =
      (lead & 0x07) << 18 | (byte(at + 1) & 0x3F) << 12 | (byte(at + 2) & 0x3F) << 6 | (byte(at + 3) & 0x3F);
  at += 4;
  return value;
}

/// Reads the character that ends before `end` of valid text and moves `end` to its first byte.
inline char32_t previous_code_point(std::string_view text, std::size_t& end) {
  do --end;
  while (is_utf8_continuation(text[end]));
  std::size_t at = end;
  return next_code_point(text, at);
}

/// Appends one code point (no surrogate, at most 0x10FFFF).
void append_utf8(std::string& out, char32_t code_point);

/// Returns the number of code points of valid text.
std::size_t count_code_points(std::string_view text);

/// Tells whether `text` is valid UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF).
bool is_valid_utf8(std::string_view text);

/// Appends `text` with each maximal subpart of an ill-formed sequence (Unicode 15, section 3.9) read as
/// U+FFFD. Where `origin` isn't null, the input position of every output byte's character is appended:
/// [begin, end).
void append_repaired_utf8(std::string& out, std::string_view text,
                          std::vector<std::pair<std::size_t, std::size_t>>* origin = nullptr);

/// Returns the length of a prefix of `text` that ends with a whole character or an ill-formed sequence that
/// further bytes can't complete: what may be decoded now when more is to come.
std::size_t complete_utf8_prefix(std::string_view text);

}  // namespace mobula::text
