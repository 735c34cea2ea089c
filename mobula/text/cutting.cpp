// What each step of the pipeline does to a text that is cut: the rules behind Tokenizer::Impl::find_cut.
#include "mobula/text/cutting.hpp"

#include <algorithm>
#include <array>

#include "mobula/text/normalizers/normalizer.hpp"
#include "mobula/text/pre_tokenizers/byte_level.hpp"
#include "mobula/text/pre_tokenizers/pre_tokenizers.hpp"

namespace mobula::text {
namespace {

constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";

bool is_ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool has_ascii_letter(std::string_view text) {
  return std::any_of(text.begin(), text.end(), is_ascii_letter);
}

bool is_one_of(std::string_view pattern, std::initializer_list<std::string_view> known) {
  return std::find(known.begin(), known.end(), pattern) != known.end();
}

// Cutting at a character of the place itself, as far as its neighbours aren't drawn to it over the cut.
CutEffect split_at_space(SplitBehavior behavior) {
  return behavior == SplitBehavior::merged_with_previous ? CutEffect::changes : CutEffect::separates;
}

}  // namespace

bool FormNormalizer::at_cut(CutPlace&) const {
  return true;  // ASCII neither composes with what stands before it nor decomposes
}
bool LowercaseNormalizer::at_cut(CutPlace&) const {
  return true;
}
bool StripAccentsNormalizer::at_cut(CutPlace&) const {
  return true;
}
bool StripNormalizer::at_cut(CutPlace&) const {
  return false;  // the second part begins with a space
}
bool BertNormalizer::at_cut(CutPlace&) const {
  return true;
}
bool PrependNormalizer::at_cut(CutPlace&) const {
  return true;  // leaves continued texts alone
}
bool NmtNormalizer::at_cut(CutPlace&) const {
  return true;
}
bool ByteLevelNormalizer::at_cut(CutPlace& place) const {
  place.space = "\xC4\xA0";
  return true;
}

bool ReplaceNormalizer::at_cut(CutPlace& place) const {
  const std::string_view literal = regex_.literal_text();
  if (!literal.empty()) {
    if (has_ascii_letter(literal)) return false;
    if (literal != place.space) return true;  // longer ones don't match either: letters stand on both sides
    place.space = content_;
    return content_ == " " || content_ == kVisibleSpace;
  }
  if (is_one_of(regex_.pattern(), {" {2,}", R"(\s{2,})", R"([\r\n]+)", R"(\n+)", R"(\n)", R"(\t)", R"([\r\n])"}))
    return true;
  if (regex_.pattern() != R"(\s+)") return false;
  if (place.space == " ") place.space = content_;
  return place.space == " " || place.space == kVisibleSpace;
}

bool PrecompiledNormalizer::at_cut(CutPlace&) const {
  std::string_view replacement;
  if (find(" ", replacement) && replacement != " ") return false;
  for (char c = 'A'; c <= 'z'; ++c) {
    const std::string_view text(&c, 1);
    if (is_ascii_letter(c) && find(text, replacement) && !(replacement.size() == 1 && is_ascii_letter(replacement[0])))
      return false;
  }
  return true;
}

CutEffect ByteLevelPreTokenizer::at_cut(CutPlace& place) const {
  const bool letter = place.space != " " && place.space != kVisibleSpace;
  const CutEffect effect = use_regex_ && !letter ? CutEffect::separates : CutEffect::none;
  if (!raw_bytes_) place.space = place.space == " " ? "\xC4\xA0" : std::string();
  return effect;
}

CutEffect ScanPreTokenizer::at_cut(CutPlace& place) const {
  // Every pattern begins a new match at a space, visible or not, behind a letter.
  return place.space == " " || place.space == kVisibleSpace ? CutEffect::separates : CutEffect::none;
}

CutEffect SplitPreTokenizer::at_cut(CutPlace& place) const {
  const bool whole = behavior_ == SplitBehavior::removed && invert_;  // matches are pieces, and nothing else is
  if (invert_ && !whole) return CutEffect::changes;
  const std::string_view literal = regex_.literal_text();
  if (!literal.empty()) {
    if (whole) return CutEffect::changes;
    if (literal == place.space) return split_at_space(behavior_);
    const bool apart = !has_ascii_letter(literal) && !place.space.empty();
    return apart ? CutEffect::none : CutEffect::changes;
  }
  static constexpr std::string_view kGpt4o =
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
      R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  static constexpr std::string_view kHan =
      R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^\p{Han}]]+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const bool apart = behavior_ == SplitBehavior::isolated || behavior_ == SplitBehavior::removed ||
                     behavior_ == SplitBehavior::contiguous;
  const std::string_view pattern = regex_.pattern();
  if ((behavior_ == SplitBehavior::isolated || whole) && place.space == " " &&
      (pattern == kGpt4o || pattern == kHan || find_scan_pattern(pattern))) {
    return CutEffect::separates;
  }
  if (whole) return CutEffect::changes;
  if (apart && place.space == " " && is_one_of(pattern, {R"(\s+)", R"(\s)", " +"})) return CutEffect::separates;
  if (apart && is_one_of(pattern, {R"(\d)", R"(\d+)", R"(\p{N})", R"(\p{N}+)", R"(\p{N}{1,3})", R"([0-9])", R"(\p{P}+)",
                                   R"([\r\n])", R"(\n)", R"(\s?\p{N}+)"})) {
    return pattern == R"(\s?\p{N}+)" && place.space != " " ? CutEffect::changes : CutEffect::none;
  }
  return CutEffect::changes;
}

CutEffect CharacterPreTokenizer::at_cut(CutPlace& place) const {
  switch (kind_) {
    case Kind::white_space:
      return place.space == " " ? split_at_space(behavior_) : CutEffect::none;
    case Kind::punctuation:
    case Kind::digits:
      return CutEffect::none;
    case Kind::delimiter:
      if (delimiter_ == U' ' && place.space == " ") return split_at_space(behavior_);
      if (delimiter_ < 128 && !is_ascii_letter(static_cast<char>(delimiter_))) return CutEffect::none;
      return CutEffect::changes;
  }
  return CutEffect::changes;
}

CutEffect WhitespacePreTokenizer::at_cut(CutPlace& place) const {
  return place.space == " " || place.space == kVisibleSpace ? CutEffect::separates : CutEffect::none;
}

CutEffect BertPreTokenizer::at_cut(CutPlace& place) const {
  return place.space == " " ? CutEffect::separates : CutEffect::none;
}

CutEffect MetaspacePreTokenizer::at_cut(CutPlace& place) const {
  if (place.space == " ") place.space = replacement_;
  return split_ && place.space == replacement_ ? CutEffect::separates : CutEffect::none;
}

CutEffect BoundaryPreTokenizer::at_cut(CutPlace& place) const {
  return place.space == boundary_ ? CutEffect::separates : CutEffect::none;
}

CutEffect UnicodeScriptsPreTokenizer::at_cut(CutPlace&) const {
  return CutEffect::changes;  // drops what stands before the first script
}
CutEffect FixedLengthPreTokenizer::at_cut(CutPlace&) const {
  return CutEffect::changes;
}

}  // namespace mobula::text
