#include <utf8proc.h>

#include <cstring>

#include "mobula/text/normalizers/normalizer.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

// A unit of a Darts double array: label, offset to its children, value of a leaf.
bool has_leaf(std::uint32_t unit) {
  return (unit >> 8 & 1) == 1;
}
std::uint32_t value(std::uint32_t unit) {
  return unit & 0x7FFFFFFF;
}
std::uint32_t label(std::uint32_t unit) {
  return unit & (0x80000000U | 0xFF);
}
std::uint32_t offset(std::uint32_t unit) {
  return (unit >> 10) << ((unit & (1U << 9)) >> 6);
}

// Returns a character that breaks graphemes as `c` does in Unicode 17: utf8proc may be older, and doesn't know the combining
// marks that Unicode 16 and 17 added. (Those beyond U+FFFF don't count here: a grapheme of six bytes is never looked up.)
utf8proc_int32_t grapheme_class(char32_t c) {
  const bool added_mark = c == 0x897 || (c >= 0x1ACF && c <= 0x1ADD) || (c >= 0x1AE0 && c <= 0x1AEB);
  return added_mark ? 0x300 : static_cast<utf8proc_int32_t>(c);
}

// Returns the end of the grapheme that begins at `at`.
std::size_t grapheme_end(std::string_view text, std::size_t at) {
  utf8proc_int32_t state = 0;
  char32_t previous = next_code_point(text, at);
  while (at < text.size()) {
    std::size_t next = at;
    const char32_t c = next_code_point(text, next);
    if (utf8proc_grapheme_break_stateful(grapheme_class(previous), grapheme_class(c), &state)) break;
    previous = c;
    at = next;
  }
  return at;
}

}  // namespace

PrecompiledNormalizer::PrecompiledNormalizer(std::string_view map) {
  std::uint32_t bytes = 0;
  if (map.size() < 4) throw std::string("the map is cut off");
  std::memcpy(&bytes, map.data(), 4);
  if (bytes % 4 != 0 || bytes < 4 || bytes > map.size() - 4) throw std::string("the map's array is cut off");
  units_.resize(bytes / 4);
  std::memcpy(units_.data(), map.data() + 4, bytes);
  replacements_ = map.substr(4 + bytes);
  if (!is_valid_utf8(replacements_)) throw std::string("the map's texts are not UTF-8");
}

template <class Found>
void PrecompiledNormalizer::walk(std::string_view text, Found&& found) const {
  std::size_t node = offset(units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == 0) return;
    node ^= c;
    if (node >= units_.size() || label(units_[node]) != c) return;
    const std::uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) return;
    const std::size_t begin = value(units_[node]);
    if (begin > replacements_.size()) return;
    const std::string_view replacement = std::string_view(replacements_).substr(begin);
    if (found(i + 1, replacement.substr(0, replacement.find('\0')))) return;
  }
}

bool PrecompiledNormalizer::find(std::string_view text, std::string_view& replacement) const {
  bool any = false;
  walk(text, [&](std::size_t, std::string_view found) {
    replacement = found;
    return any = true;
  });
  return any;
}

std::size_t PrecompiledNormalizer::find_longest(std::string_view text, std::string_view& replacement) const {
  std::size_t longest = 0;
  walk(text, [&](std::size_t length, std::string_view found) {
    longest = length;
    replacement = found;
    return false;
  });
  return longest;
}

void PrecompiledNormalizer::normalize(AlignedText& text) const {
  std::vector<NormalizedCharacter> characters;
  characters.reserve(text.text.size());
  bool modified = false;
  std::string_view replacement;
  // n characters replace m: those in excess are inserted, or the last one written takes the rest with it.
  const auto replace = [&](std::size_t count) {
    std::size_t added = 0;
    for (std::size_t at = 0; at < replacement.size(); ++added) {
      characters.push_back({next_code_point(replacement, at), added < count ? 0 : 1});
    }
    if (added < count && !characters.empty()) characters.back().change -= static_cast<int>(count - added);
    modified = true;
  };
  for (std::size_t at = 0; at < text.text.size();) {
    const std::size_t end = grapheme_end(text.text, at);
    const std::string_view grapheme = std::string_view(text.text).substr(at, end - at);
    at = end;
    if (grapheme.size() < 6 && find(grapheme, replacement)) {
      replace(count_code_points(grapheme));
      continue;
    }
    for (std::size_t i = 0; i < grapheme.size();) {
      const std::size_t begin = i;
      const char32_t c = next_code_point(grapheme, i);
      if (find(grapheme.substr(begin, i - begin), replacement)) {
        replace(1);
      } else {
        characters.push_back({c, 0});
      }
    }
  }
  if (!modified) return;
  Rewrite rewrite(text);
  for (const NormalizedCharacter& each : characters) rewrite.put(each.code_point, each.change);
  rewrite.commit();
}

}  // namespace mobula::text
