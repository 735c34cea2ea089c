#include <fmt/format.h>

#include "mobula/text/decoders/decoder.hpp"
#include "mobula/text/loader/components.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {

std::unique_ptr<Decoder> read_decoder(const JsonValue& value) {
  const std::string_view type = value.at("type").string();
  if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
  if (type == "Fuse") return std::make_unique<FuseDecoder>();
  if (type == "Sequence") {
    std::vector<std::unique_ptr<Decoder>> steps;
    for (const JsonValue& step : value.at("decoders").items()) steps.push_back(read_decoder(step));
    return std::make_unique<SequenceDecoder>(std::move(steps));
  }
  if (type == "BPEDecoder") return std::make_unique<BpeDecoder>(value.text("suffix", "</w>"));
  if (type == "WordPiece")
    return std::make_unique<WordPieceDecoder>(value.text("prefix", "##"), value.flag("cleanup", true));
  if (type == "ByteFallback") return std::make_unique<ByteFallbackDecoder>();
  if (type == "Metaspace") {
    std::string replacement;
    append_utf8(replacement, value.at("replacement").character());
    const bool prepended = value.text("prepend_scheme", "always") != "never" && value.flag("add_prefix_space", true);
    return std::make_unique<MetaspaceDecoder>(std::move(replacement), prepended);
  }
  if (type == "CTC") {
    return std::make_unique<CtcDecoder>(value.text("pad_token", "<pad>"), value.text("word_delimiter_token", "|"),
                                        value.flag("cleanup", true));
  }
  if (type == "Replace") {
    return std::make_unique<ReplaceDecoder>(read_pattern(value.at("pattern")),
                                            std::string(value.at("content").string()));
  }
  if (type == "Strip") {
    return std::make_unique<StripDecoder>(value.at("content").character(),
                                          static_cast<std::size_t>(value.at("start").integer(1 << 30)),
                                          static_cast<std::size_t>(value.at("stop").integer(1 << 30)));
  }
  value.unsupported(fmt::format("decoder type '{}' is not known", type));
}

}  // namespace mobula::text
