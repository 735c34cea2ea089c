#include <fmt/format.h>

#include "mobula/text/loader/components.hpp"
#include "mobula/text/pre_tokenizers/byte_level.hpp"
#include "mobula/text/pre_tokenizers/pre_tokenizers.hpp"

namespace mobula::text {
namespace {

SplitBehavior read_behavior(const JsonValue& value, SplitBehavior otherwise) {
  const auto field = value.find("behavior");
  if (!field) return otherwise;
  const std::string_view name = field->string();
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  field->fail("expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

std::unique_ptr<PreTokenizer> read_split(const JsonValue& value) {
  const SplitBehavior behavior = read_behavior(value, SplitBehavior::isolated);
  const bool invert = value.flag("invert", false);
  const JsonValue pattern = value.at("pattern");
  if (const auto regex = pattern.find("Regex")) {
    // The known patterns match all of any text, so that isolating matches or removing the rest comes to the same.
    const auto known = find_scan_pattern(regex->string());
    const bool covers = behavior == SplitBehavior::isolated || (behavior == SplitBehavior::removed && invert);
    if (known && covers) return std::make_unique<ScanPreTokenizer>(*known);
  }
  return std::make_unique<SplitPreTokenizer>(read_pattern(pattern), behavior, invert);
}

std::unique_ptr<PreTokenizer> read_metaspace(const JsonValue& value) {
  using Prepend = MetaspacePreTokenizer::Prepend;
  Prepend prepend = Prepend::always;
  if (const auto scheme = value.find("prepend_scheme")) {
    const std::string_view name = scheme->string();
    if (name != "first" && name != "never" && name != "always") scheme->fail("expected first, never or always");
    prepend = name == "first" ? Prepend::first : name == "never" ? Prepend::never : Prepend::always;
  }
  if (const auto prefix = value.find("add_prefix_space"); prefix && !prefix->boolean()) {
    if (prepend != Prepend::never && value.find("prepend_scheme")) prefix->fail("contradicts prepend_scheme");
    prepend = Prepend::never;
  }
  return std::make_unique<MetaspacePreTokenizer>(value.at("replacement").character(), prepend,
                                                 value.flag("split", true));
}

}  // namespace

void read_pre_tokenizer(const JsonValue& value, std::vector<std::unique_ptr<PreTokenizer>>& out) {
  using Kind = CharacterPreTokenizer::Kind;
  const std::string_view type = value.at("type").string();
  if (type == "Sequence") {
    for (const JsonValue& step : value.at("pretokenizers").items()) read_pre_tokenizer(step, out);
  } else if (type == "ByteLevel") {
    out.push_back(
        std::make_unique<ByteLevelPreTokenizer>(value.flag("add_prefix_space", true), value.flag("use_regex", true)));
  } else if (type == "Split") {
    out.push_back(read_split(value));
  } else if (type == "BertPreTokenizer") {
    out.push_back(std::make_unique<BertPreTokenizer>());
  } else if (type == "Whitespace") {
    out.push_back(std::make_unique<WhitespacePreTokenizer>());
  } else if (type == "WhitespaceSplit") {
    out.push_back(std::make_unique<CharacterPreTokenizer>(Kind::white_space, SplitBehavior::removed));
  } else if (type == "Punctuation") {
    out.push_back(
        std::make_unique<CharacterPreTokenizer>(Kind::punctuation, read_behavior(value, SplitBehavior::isolated)));
  } else if (type == "Digits") {
    const bool each = value.flag("individual_digits", false);
    out.push_back(std::make_unique<CharacterPreTokenizer>(Kind::digits,
                                                          each ? SplitBehavior::isolated : SplitBehavior::contiguous));
  } else if (type == "CharDelimiterSplit" || type == "Delimiter") {
    out.push_back(std::make_unique<CharacterPreTokenizer>(Kind::delimiter, SplitBehavior::removed,
                                                          value.at("delimiter").character()));
  } else if (type == "Metaspace") {
    out.push_back(read_metaspace(value));
  } else if (type == "UnicodeScripts") {
    out.push_back(std::make_unique<UnicodeScriptsPreTokenizer>());
  } else if (type == "FixedLength") {
    const auto length = value.find("length");
    const std::int64_t characters = length ? length->integer(1 << 30) : 5;
    if (characters == 0) length->fail("expected at least 1");
    out.push_back(std::make_unique<FixedLengthPreTokenizer>(static_cast<std::size_t>(characters)));
  } else {
    value.unsupported(fmt::format("pre-tokenizer type '{}' is not known", type));
  }
}

}  // namespace mobula::text
