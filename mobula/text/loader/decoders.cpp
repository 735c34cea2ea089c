#include <fmt/format.h>

#include "mobula/text/decoders/decoder.hpp"
#include "mobula/text/loader/components.hpp"

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
  value.unsupported(fmt::format("decoder type '{}' is not known", type));
}

}  // namespace mobula::text
