#include <fmt/format.h>

#include "mobula/text/loader/components.hpp"
#include "mobula/text/pre_tokenizers/byte_level.hpp"

namespace mobula::text {

void read_pre_tokenizer(const JsonValue& value, std::vector<std::unique_ptr<PreTokenizer>>& out) {
  const std::string_view type = value.at("type").string();
  if (type == "Sequence") {
    for (const JsonValue& step : value.at("pretokenizers").items()) read_pre_tokenizer(step, out);
  } else if (type == "ByteLevel") {
    out.push_back(std::make_unique<ByteLevelPreTokenizer>(value.flag("add_prefix_space", true),
                                                          value.flag("use_regex", true)));
  } else {
    value.unsupported(fmt::format("pre-tokenizer type '{}' is not known", type));
  }
}

}  // namespace mobula::text
