/// The four normalization forms (Unicode standard annex 15), with the Unicode version that Hugging Face's tokenizers use.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace mobula::text {

enum class NormalizationForm { nfc, nfd, nfkc, nfkd };

/// A character of normalized text and how it changes the old text: 0 in the place of the next character, 1 inserted,
/// -n in the place of the next and n more.
struct NormalizedCharacter {
  char32_t code_point;
  int change;
};

/// Normalizes valid UTF-8.
std::vector<NormalizedCharacter> normalize_characters(std::string_view text, NormalizationForm form);

/// Tells whether all bytes are below 128.
bool is_ascii(std::string_view text);

}  // namespace mobula::text
