#include "mobula/text/byte_alphabet.hpp"

#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

struct Alphabet {
  std::array<char16_t, 256> character{};
  std::array<std::int16_t, 0x180> byte{};

  constexpr Alphabet() {
    byte.fill(-1);
    char16_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char16_t c = printable ? static_cast<char16_t>(b) : next++;
      character[static_cast<std::size_t>(b)] = c;
      byte[c] = static_cast<std::int16_t>(b);
    }
  }
};
constexpr Alphabet kAlphabet;

}  // namespace

char32_t byte_to_character(std::uint8_t byte) {
  return kAlphabet.character[byte];
}

int character_to_byte(char32_t character) {
  return character < kAlphabet.byte.size() ? kAlphabet.byte[character] : -1;
}

void append_byte_level(std::string& out, std::string_view bytes) {
  for (const char byte : bytes) append_utf8(out, byte_to_character(static_cast<std::uint8_t>(byte)));
}

bool append_bytes_of(std::string& out, std::string_view token) {
  const std::size_t before = out.size();
  for (std::size_t at = 0; at < token.size();) {
    const int byte = character_to_byte(next_code_point(token, at));
    if (byte < 0) {
      out.resize(before);
      return false;
    }
    out += static_cast<char>(byte);
  }
  return true;
}

}  // namespace mobula::text
