#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "mobula/data/content/content_rules.hpp"
#include "mobula/data/preprocess/words.hpp"

namespace mobula::data {
namespace {

/// A language written in Latin letters, and words that are common in it.
struct LatinLanguage {
  const char* code;
  std::array<const char*, 20> words;
};

constexpr LatinLanguage kLatin[] = {
    {"en", {"the", "of",   "and", "to",  "in",   "is", "that", "it",  "was",  "for",
            "on",  "with", "as",  "are", "this", "be", "you",  "not", "have", "from"}},
    {"de", {"der", "die", "und", "das", "ist",  "nicht", "ein",  "eine", "zu",  "den",
            "mit", "von", "auf", "für", "sich", "dem",   "auch", "ich",  "wir", "werden"}},
    {"fr", {"le",  "la",  "les", "des",  "est",  "et",   "une", "dans", "que", "pour",
            "pas", "qui", "sur", "avec", "vous", "nous", "il",  "du",   "au",  "ce"}},
    {"es", {"el",  "los",  "las", "una",  "que", "es",  "por", "con", "para", "como",
            "más", "pero", "su",  "está", "muy", "del", "al",  "lo",  "se",   "hay"}},
    {"it", {"il",    "che", "di",     "non",  "sono", "una", "per",  "con", "gli", "della",
            "anche", "più", "questo", "come", "ma",   "nel", "alla", "è",   "si",  "ho"}},
    {"pt", {"os",  "uma", "que", "não",  "com",  "para", "mais", "como", "mas",   "ao",
            "dos", "das", "são", "você", "isso", "ele",  "foi",  "tem",  "muito", "em"}},
    {"nl", {"de",   "het", "een",  "van", "en",  "dat",  "niet",  "op",   "te",  "zijn",
            "voor", "met", "maar", "ook", "aan", "naar", "wordt", "deze", "bij", "ik"}},
};

/// Returns the language that a letter outside Latin belongs to; null for all others.
const char* language_of(char32_t letter) {
  if (letter >= 0x3040 && letter <= 0x30FF) return "ja";
  if (letter >= 0xAC00 && letter <= 0xD7AF) return "ko";
  if ((letter >= 0x4E00 && letter <= 0x9FFF) || (letter >= 0x3400 && letter <= 0x4DBF)) return "zh";
  if (letter >= 0x0400 && letter <= 0x04FF) return "ru";
  if (letter >= 0x0600 && letter <= 0x06FF) return "ar";
  if (letter >= 0x0590 && letter <= 0x05FF) return "he";
  if (letter >= 0x0370 && letter <= 0x03FF) return "el";
  if (letter >= 0x0900 && letter <= 0x097F) return "hi";
  if (letter >= 0x0E00 && letter <= 0x0E7F) return "th";
  return nullptr;
}

char32_t next_letter(std::string_view text, std::size_t& at) {
  const auto first = static_cast<unsigned char>(text[at]);
  const std::size_t size = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  char32_t letter = size == 1 ? first : first & (0xFF >> (size + 1));
  for (std::size_t i = 1; i < size && at + i < text.size(); ++i)
    letter = letter << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3F);
  at += size;
  return letter;
}

}  // namespace

std::string guess_language(std::string_view text) {
  std::unordered_map<std::string, std::int64_t> letters;
  std::int64_t latin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t letter = next_letter(text, at);
    if (const char* language = language_of(letter)) {
      ++letters[language];
    } else if ((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
               (letter >= 0xC0 && letter <= 0x24F)) {
      ++latin;
    }
  }
  // Japanese is written in Chinese characters, too: a few kana are enough to tell.
  if (letters["ja"] * 10 > letters["zh"]) letters["ja"] += letters["zh"];
  std::string best = "und";
  std::int64_t most = latin / 3;  // a letter of Chinese says about as much as three Latin ones
  for (const auto& [language, count] : letters) {
    if (count > most) {
      most = count;
      best = language;
    }
  }
  if (best != "und" || latin == 0) return best;
  static const WordFinder finder;
  std::array<std::int64_t, std::size(kLatin)> scores{};
  finder.for_each(text, [&scores](std::string_view word) {
    std::string lower(word);
    for (char& c : lower) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    for (std::size_t i = 0; i < scores.size(); ++i) {
      for (const char* known : kLatin[i].words) scores[i] += lower == known;
    }
  });
  std::int64_t score = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] > score) {
      score = scores[i];
      best = kLatin[i].code;
    }
  }
  return best;
}

}  // namespace mobula::data
