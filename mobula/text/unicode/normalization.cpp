#include "mobula/text/unicode/normalization.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "mobula/text/unicode/properties.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

// Hangul syllables follow from arithmetic (Unicode standard, section 3.12).
constexpr char32_t kSyllables = 0xAC00;
constexpr char32_t kLeads = 0x1100;
constexpr char32_t kVowels = 0x1161;
constexpr char32_t kTails = 0x11A7;
constexpr char32_t kNumLeads = 19;
constexpr char32_t kNumVowels = 21;
constexpr char32_t kNumTails = 28;

void decompose(char32_t c, bool compatible, std::vector<NormalizedCharacter>& out) {
  const auto put_all = [&](const auto& characters) {
    int change = 0;
    for (const char32_t each : characters) {
      out.push_back({each, change});
      change = 1;
    }
  };
  if (c >= kSyllables && c < kSyllables + kNumLeads * kNumVowels * kNumTails) {
    const char32_t index = c - kSyllables;
    out.push_back({kLeads + index / (kNumVowels * kNumTails), 0});
    out.push_back({kVowels + index % (kNumVowels * kNumTails) / kNumTails, 1});
    if (index % kNumTails != 0) out.push_back({kTails + index % kNumTails, 1});
    return;
  }
  if (compatible) {
    const CodePoints mapped = compatibility_decomposition(c);
    if (mapped.size > 0) return put_all(mapped);
  }
  const CodePoints mapped = canonical_decomposition(c);
  if (mapped.size > 0) return put_all(mapped);
  out.push_back({c, 0});
}

char32_t composite(char32_t first, char32_t second) {
  if (first >= kLeads && first < kLeads + kNumLeads && second >= kVowels && second < kVowels + kNumVowels) {
    return kSyllables + ((first - kLeads) * kNumVowels + (second - kVowels)) * kNumTails;
  }
  if (first >= kSyllables && first < kSyllables + kNumLeads * kNumVowels * kNumTails &&
      (first - kSyllables) % kNumTails == 0 && second > kTails && second < kTails + kNumTails) {
    return first + (second - kTails);
  }
  return primary_composite(first, second);
}

void compose(std::vector<NormalizedCharacter>& characters) {
  std::size_t kept = 0;
  std::size_t starter = 0;
  bool has_starter = false;
  int last_class = -1;  // of what stands between the starter and here; -1 where nothing does
  for (std::size_t i = 0; i < characters.size(); ++i) {
    const NormalizedCharacter current = characters[i];
    const int current_class = combining_class(current.code_point);
    if (has_starter && (last_class == -1 || (last_class < current_class && last_class != 0))) {
      if (const char32_t made = composite(characters[starter].code_point, current.code_point)) {
        characters[starter].code_point = made;
        characters[starter].change += current.change - 1;
        continue;
      }
    }
    if (current_class == 0) {
      starter = kept;
      has_starter = true;
      last_class = -1;
    } else {
      last_class = current_class;
    }
    characters[kept++] = current;
  }
  characters.resize(kept);
}

}  // namespace

std::vector<NormalizedCharacter> normalize_characters(std::string_view text, NormalizationForm form) {
  const bool compatible = form == NormalizationForm::nfkc || form == NormalizationForm::nfkd;
  std::vector<NormalizedCharacter> characters;
  characters.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) decompose(next_code_point(text, at), compatible, characters);
  // Marks in a row are put in the order of their classes.
  const auto class_of = [](const NormalizedCharacter& c) { return combining_class(c.code_point); };
  for (std::size_t i = 0; i < characters.size(); ++i) {
    if (class_of(characters[i]) == 0) continue;
    std::size_t end = i + 1;
    while (end < characters.size() && class_of(characters[end]) != 0) ++end;
    std::stable_sort(characters.begin() + static_cast<std::ptrdiff_t>(i),
                     characters.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](const auto& a, const auto& b) { return class_of(a) < class_of(b); });
    i = end - 1;
  }
  if (form == NormalizationForm::nfc || form == NormalizationForm::nfkc) compose(characters);
  return characters;
}

bool is_ascii(std::string_view text) {
  std::uint64_t seen = 0;
  std::size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    seen |= word;
    if ((at & 0xFFF) == 0 && (seen & 0x8080808080808080U) != 0) return false;
  }
  for (; at < text.size(); ++at) seen |= static_cast<std::uint64_t>(static_cast<unsigned char>(text[at]));
  return (seen & 0x8080808080808080U) == 0;
}

}  // namespace mobula::text
