/// The 256 printable characters that stand for bytes in byte-level vocabularies (GPT-2: Radford et al.,
/// 2019).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace mobula::text {

/// Returns the character that stands for a byte.
char32_t byte_to_character(std::uint8_t byte);
/// Returns the byte that a character stands for, -1 where it stands for none.
int character_to_byte(char32_t character);
/// Appends the byte-level spelling of raw bytes.
void append_byte_level(std::string& out, std::string_view bytes);
/// Writes the bytes that a byte-level token spells; returns false (and writes nothing) where a character of
/// it stands for no byte.
bool append_bytes_of(std::string& out, std::string_view token);

}  // namespace mobula::text
