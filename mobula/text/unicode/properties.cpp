#include "mobula/text/unicode/properties.hpp"

#include <algorithm>
#include <iterator>

namespace mobula::text {
namespace {

#include "mobula/text/unicode/tables.inc"

enum : std::uint8_t {
  kOnigWord = 1,
  kRustWord = 2,
  kRustSpace = 4,
  kRustNumeric = 8,
  kPunctuation = 16,
  kOther = 32,
  kNonspacing = 64,
  kCombining = 128,
};

template <class Value>
Value two_stage(const std::uint16_t* index, const Value* blocks, char32_t code_point) {
  return code_point > 0x10FFFF ? Value{} : blocks[index[code_point >> 7] * 128U + (code_point & 127)];
}

std::uint8_t flags(char32_t code_point) {
  return two_stage(kFlagsIndex, kFlagsBlocks, code_point);
}

template <std::size_t N>
CodePoints mapping(const char32_t (&keys)[N], const std::uint16_t* begins, const char32_t* text, char32_t code_point) {
  const char32_t* found = std::lower_bound(std::begin(keys), std::end(keys), code_point);
  if (found == std::end(keys) || *found != code_point) return {};
  const std::size_t index = static_cast<std::size_t>(found - keys);
  return {text + begins[index], static_cast<std::size_t>(begins[index + 1] - begins[index])};
}

}  // namespace

Category category(char32_t c) {
  return static_cast<Category>(two_stage(kCategoryIndex, kCategoryBlocks, c));
}
bool is_letter(char32_t c) {
  const Category k = category(c);
  return k >= Category::Ll && k <= Category::Lu;
}
bool is_mark(char32_t c) {
  const Category k = category(c);
  return k >= Category::Mc && k <= Category::Mn;
}
bool is_number(char32_t c) {
  const Category k = category(c);
  return k >= Category::Nd && k <= Category::No;
}
bool is_word(char32_t c) {
  return (flags(c) & kOnigWord) != 0;
}
bool is_rust_word(char32_t c) {
  return (flags(c) & kRustWord) != 0;
}
bool is_space(char32_t c) {
  return (flags(c) & kRustSpace) != 0;
}
bool is_numeric(char32_t c) {
  return (flags(c) & kRustNumeric) != 0;
}
bool is_punctuation(char32_t c) {
  return (flags(c) & kPunctuation) != 0;
}
bool is_bert_control(char32_t c) {
  return (flags(c) & kOther) != 0;
}
bool is_nonspacing_mark(char32_t c) {
  return (flags(c) & kNonspacing) != 0;
}
bool is_combining_mark(char32_t c) {
  return (flags(c) & kCombining) != 0;
}

bool is_bert_chinese(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

std::uint8_t script(char32_t c) {
  return two_stage(kScriptIndex, kScriptBlocks, c);
}
std::uint8_t combining_class(char32_t c) {
  return two_stage(kCombiningClassIndex, kCombiningClassBlocks, c);
}
CodePoints lowercase(char32_t c) {
  return mapping(kLowercaseKeys, kLowercaseBegins, kLowercaseText, c);
}
CodePoints canonical_decomposition(char32_t c) {
  return mapping(kCanonicalKeys, kCanonicalBegins, kCanonicalText, c);
}
CodePoints compatibility_decomposition(char32_t c) {
  return mapping(kCompatibleKeys, kCompatibleBegins, kCompatibleText, c);
}

char32_t primary_composite(char32_t first, char32_t second) {
  const auto range = std::equal_range(std::begin(kCompositionFirst), std::end(kCompositionFirst), first);
  const auto begin = range.first - kCompositionFirst;
  const auto end = range.second - kCompositionFirst;
  const char32_t* found = std::lower_bound(kCompositionSecond + begin, kCompositionSecond + end, second);
  if (found == kCompositionSecond + end || *found != second) return 0;
  return kCompositionResult[found - kCompositionSecond];
}

}  // namespace mobula::text
