/// Upper, lower and title case of letters, as Python's strings have them (Unicode standard, sections 3.13 and 4.2).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mobula::text::jinja {

/// Tell whether a letter counts as of lower case (Lowercase), of upper case (Uppercase), or of any case (Cased).
bool is_lower(char32_t c);
bool is_upper(char32_t c);
bool is_cased(char32_t c);

/// Append a letter in upper or title case; one letter may become up to three.
void append_upper(char32_t c, std::string& out);
void append_title(char32_t c, std::string& out);
/// Appends the letter that begins at byte `at` of a text in lower case, which for a sigma depends on what stands around it.
void append_lower(std::string_view text, std::size_t at, std::string& out);

}  // namespace mobula::text::jinja
