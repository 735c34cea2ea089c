#include <fmt/format.h>

#include "mobula/text/loader/components.hpp"

namespace mobula::text {
namespace {

// Reads ["[SEP]", 102].
TokenId read_token_pair(const JsonValue& value) {
  const std::vector<JsonValue> items = value.items();
  if (items.size() != 2) value.fail("expected a token and its id");
  return static_cast<TokenId>(items[1].integer(kMaxTokenId));
}

std::vector<TemplatePostProcessor::Part> read_template(const JsonValue& list, const JsonValue& special_tokens,
                                                       bool pair) {
  std::vector<TemplatePostProcessor::Part> parts;
  for (const JsonValue& entry : list.items()) {
    TemplatePostProcessor::Part part;
    const auto sequence = entry.find("Sequence");
    const JsonValue body = sequence ? *sequence : entry.at("SpecialToken");
    const JsonValue id = body.at("id");
    if (const auto type = body.find("type_id")) part.type = static_cast<std::uint32_t>(type->integer(1 << 30));
    if (sequence) {
      if (id.string() != "A" && !(pair && id.string() == "B")) id.fail(pair ? "expected A or B" : "expected A");
      part.sequence = id.string() == "A" ? 0 : 1;
    } else {
      for (const JsonValue& each : special_tokens.at(id.string()).at("ids").items()) {
        part.ids.push_back(static_cast<TokenId>(each.integer(kMaxTokenId)));
      }
    }
    parts.push_back(std::move(part));
    if (parts.size() > 1000) list.fail("more than 1000 parts are refused");
  }
  return parts;
}

std::size_t read_size(const JsonValue& value, std::string_view key, std::size_t otherwise) {
  const auto field = value.find(key);
  return field ? static_cast<std::size_t>(field->integer(std::int64_t{1} << 40)) : otherwise;
}

}  // namespace

std::unique_ptr<PostProcessor> read_post_processor(const JsonValue& value) {
  const std::string_view type = value.at("type").string();
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevelPostProcessor>(value.flag("trim_offsets", true),
                                                    value.flag("add_prefix_space", true));
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    ClsSepPostProcessor::Options options;
    options.cls = read_token_pair(value.at("cls"));
    options.sep = read_token_pair(value.at("sep"));
    options.roberta = type == "RobertaProcessing";
    options.trim_offsets = options.roberta && value.flag("trim_offsets", true);
    options.add_prefix_space = options.roberta && value.flag("add_prefix_space", true);
    return std::make_unique<ClsSepPostProcessor>(options);
  }
  if (type == "TemplateProcessing") {
    const JsonValue special = value.at("special_tokens");
    return std::make_unique<TemplatePostProcessor>(read_template(value.at("single"), special, false),
                                                   read_template(value.at("pair"), special, true));
  }
  if (type == "Sequence") {
    std::vector<std::unique_ptr<PostProcessor>> steps;
    for (const JsonValue& step : value.at("processors").items()) steps.push_back(read_post_processor(step));
    return std::make_unique<SequencePostProcessor>(std::move(steps));
  }
  value.unsupported(fmt::format("post-processor type '{}' is not known", type));
}

Truncation read_truncation(const JsonValue& value) {
  Truncation truncation;
  truncation.max_length = read_size(value, "max_length", 512);
  truncation.stride = read_size(value, "stride", 0);
  if (const auto strategy = value.find("strategy")) {
    const std::string_view name = strategy->string();
    if (name != "LongestFirst" && name != "OnlyFirst" && name != "OnlySecond")
      strategy->fail("expected LongestFirst, OnlyFirst or OnlySecond");
    truncation.strategy = name == "LongestFirst" ? Truncation::Strategy::longest_first
                          : name == "OnlyFirst"  ? Truncation::Strategy::only_first
                                                 : Truncation::Strategy::only_second;
  }
  truncation.from_left = value.text("direction", "Right") == "Left";
  return truncation;
}

Padding read_padding(const JsonValue& value) {
  Padding padding;
  const JsonValue strategy = value.at("strategy");
  if (strategy.is_object()) {
    padding.fixed = static_cast<std::size_t>(strategy.at("Fixed").integer(1 << 24));
  } else if (strategy.string() != "BatchLongest") {
    strategy.fail("expected BatchLongest or {\"Fixed\": n}");
  }
  padding.multiple = read_size(value, "pad_to_multiple_of", 0);
  if (padding.multiple > 1 << 24) value.at("pad_to_multiple_of").fail("expected at most 16777216");
  padding.on_left = value.text("direction", "Right") == "Left";
  if (const auto id = value.find("pad_id")) padding.id = static_cast<TokenId>(id->integer(kMaxTokenId));
  if (const auto type = value.find("pad_type_id")) padding.type = static_cast<std::uint32_t>(type->integer(1 << 30));
  return padding;
}

}  // namespace mobula::text
