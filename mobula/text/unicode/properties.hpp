/// What each code point is to tokenizers: categories, classes, case, decompositions.
///
/// The tables say what the components of Hugging Face's tokenizers library answer (make_tables.py asks them);
/// they stand on several Unicode versions, which is why one property may disagree with another on recently
/// assigned characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mobula::text {

/// General categories (Unicode standard, table 4-4), in the order of the tables.
enum class Category : std::uint8_t {
  Cn,
  Cc,
  Cf,
  Co,
  Cs,
  Ll,
  Lm,
  Lo,
  Lt,
  Lu,
  Mc,
  Me,
  Mn,
  Nd,
  Nl,
  No,
  Pc,
  Pd,
  Pe,
  Pf,
  Pi,
  Po,
  Ps,
  Sc,
  Sk,
  Sm,
  So,
  Zl,
  Zp,
  Zs
};

/// Returns the category that regular expressions see.
Category category(char32_t code_point);
/// \p{L}, \p{M}, \p{N} of regular expressions.
bool is_letter(char32_t code_point);
bool is_mark(char32_t code_point);
bool is_number(char32_t code_point);
/// \w of regular expressions in files (Oniguruma).
bool is_word(char32_t code_point);
/// \w of the library's own expressions (Rust's regex crate): whole words, the Whitespace pre-tokenizer.
bool is_rust_word(char32_t code_point);
/// White_Space: \s everywhere, char::is_whitespace.
bool is_space(char32_t code_point);
/// char::is_numeric, which the Digits pre-tokenizer uses.
bool is_numeric(char32_t code_point);
/// Punctuation as BERT's pre-tokenizer and Punctuation see it (all of ASCII's signs included).
bool is_punctuation(char32_t code_point);
/// What BERT's normalizer removes when it cleans text: controls, formats, private and unassigned characters
/// it knows of, U+0000 and U+FFFD.
bool is_bert_control(char32_t code_point);
/// Nonspacing marks as BERT's accent stripping sees them.
bool is_nonspacing_mark(char32_t code_point);
/// Combining marks as the StripAccents normalizer sees them.
bool is_combining_mark(char32_t code_point);
/// Chinese characters as BERT's normalizer sees them (CJK blocks).
bool is_bert_chinese(char32_t code_point);
/// Returns a number for the script of a code point; 0 stands for one that joins any script.
std::uint8_t script(char32_t code_point);
/// Returns the canonical combining class.
std::uint8_t combining_class(char32_t code_point);

/// A text of code points in the tables; empty where there is no entry.
struct CodePoints {
  const char32_t* data = nullptr;
  std::size_t size = 0;
  const char32_t* begin() const { return data; }
  const char32_t* end() const { return data + size; }
};
/// Returns the lower case of a code point, empty where it is the code point itself.
CodePoints lowercase(char32_t code_point);
/// Returns the full canonical decomposition (Hangul syllables left out), empty where there is none.
CodePoints canonical_decomposition(char32_t code_point);
/// Returns the full compatibility decomposition where it differs from the canonical one, else empty.
CodePoints compatibility_decomposition(char32_t code_point);
/// Returns the primary composite of two code points (Hangul left out), 0 where there is none.
char32_t primary_composite(char32_t first, char32_t second);

}  // namespace mobula::text
