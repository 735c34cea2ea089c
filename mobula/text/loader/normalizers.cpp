#include <fmt/format.h>

#include "mobula/text/base64.hpp"
#include "mobula/text/loader/components.hpp"

namespace mobula::text {
Regex read_pattern(const JsonValue& value) {
  if (const auto text = value.find("String")) return Regex::literal(text->string(), text->path());
  const JsonValue pattern = value.at("Regex");
  return Regex::compile(pattern.string(), pattern.path());
}

void read_normalizer(const JsonValue& value, std::vector<std::unique_ptr<Normalizer>>& out) {
  const std::string_view type = value.at("type").string();
  if (type == "Sequence") {
    for (const JsonValue& step : value.at("normalizers").items()) read_normalizer(step, out);
  } else if (type == "NFC") {
    out.push_back(std::make_unique<FormNormalizer>(NormalizationForm::nfc));
  } else if (type == "NFD") {
    out.push_back(std::make_unique<FormNormalizer>(NormalizationForm::nfd));
  } else if (type == "NFKC") {
    out.push_back(std::make_unique<FormNormalizer>(NormalizationForm::nfkc));
  } else if (type == "NFKD") {
    out.push_back(std::make_unique<FormNormalizer>(NormalizationForm::nfkd));
  } else if (type == "Lowercase") {
    out.push_back(std::make_unique<LowercaseNormalizer>());
  } else if (type == "StripAccents") {
    out.push_back(std::make_unique<StripAccentsNormalizer>());
  } else if (type == "Strip") {
    out.push_back(std::make_unique<StripNormalizer>(value.flag("strip_left", true), value.flag("strip_right", true)));
  } else if (type == "Nmt") {
    out.push_back(std::make_unique<NmtNormalizer>());
  } else if (type == "ByteLevel") {
    out.push_back(std::make_unique<ByteLevelNormalizer>());
  } else if (type == "Prepend") {
    out.push_back(std::make_unique<PrependNormalizer>(std::string(value.at("prepend").string())));
  } else if (type == "Replace") {
    out.push_back(std::make_unique<ReplaceNormalizer>(read_pattern(value.at("pattern")),
                                                      std::string(value.at("content").string())));
  } else if (type == "BertNormalizer") {
    BertNormalizer::Options options;
    options.clean_text = value.flag("clean_text", true);
    options.handle_chinese_chars = value.flag("handle_chinese_chars", true);
    options.lowercase = value.flag("lowercase", true);
    options.strip_accents = value.flag("strip_accents", options.lowercase);
    out.push_back(std::make_unique<BertNormalizer>(options));
  } else if (type == "Precompiled") {
    const auto map = value.find("precompiled_charsmap");
    if (!map || map->string().empty()) return;
    const auto bytes = decode_base64(map->string());
    if (!bytes) map->fail("expected base64");
    try {
      out.push_back(std::make_unique<PrecompiledNormalizer>(*bytes));
    } catch (const std::string& reason) {
      map->fail(reason);
    }
  } else {
    value.unsupported(fmt::format("normalizer type '{}' is not known", type));
  }
}

}  // namespace mobula::text
