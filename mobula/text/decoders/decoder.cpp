#include "mobula/text/decoders/decoder.hpp"

#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

std::string join(const std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

}  // namespace

void ByteLevelDecoder::apply(std::vector<std::string>& tokens) const {
  std::string bytes;
  for (const std::string& token : tokens) {
    if (!append_bytes_of(bytes, token)) bytes += token;
  }
  std::string text;
  append_repaired_utf8(text, bytes);
  tokens.assign(1, std::move(text));
}

void FuseDecoder::apply(std::vector<std::string>& tokens) const {
  tokens.assign(1, join(tokens));
}

void SequenceDecoder::apply(std::vector<std::string>& tokens) const {
  for (const auto& step : steps_) step->apply(tokens);
}

}  // namespace mobula::text
