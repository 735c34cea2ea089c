#include "mobula/text/decoders/decoding_table.hpp"

#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 30;

void flatten(const Decoder& decoder, std::vector<const Decoder*>& out) {
  const auto* sequence = dynamic_cast<const SequenceDecoder*>(&decoder);
  if (sequence == nullptr) return out.push_back(&decoder);
  for (const auto& step : sequence->steps()) flatten(*step, out);
}

}  // namespace

DecodingTable::DecodingTable(const Decoder* decoder, std::size_t num_ids, const Spelling& spelling) {
  std::vector<const Decoder*> steps;
  if (decoder != nullptr) flatten(*decoder, steps);
  spaces_ = decoder == nullptr;
  byte_level_ = steps.size() == 1 && dynamic_cast<const ByteLevelDecoder*>(steps[0]) != nullptr;
  if (!byte_level_) {
    std::size_t at = 0;
    while (at < steps.size() && steps[at]->token_by_token()) before_.push_back(steps[at++]);
    fallback_ = at < steps.size() && dynamic_cast<const ByteFallbackDecoder*>(steps[at]) != nullptr;
    at += fallback_ ? 1 : 0;
    if (at < steps.size()) {
      if (dynamic_cast<const FuseDecoder*>(steps[at]) == nullptr) return;
      behind_.assign(steps.begin() + static_cast<std::ptrdiff_t>(at) + 1, steps.end());
    }
  }
  begin_.reserve(num_ids + 1);
  kinds_.reserve(num_ids);
  std::vector<std::string> pair;
  for (std::size_t i = 0; i < num_ids; ++i) {
    begin_.push_back(texts_.size());
    if (texts_.size() > kMostBytes) {  // a decoder that blows tokens up: token by token then
      begin_.clear();
      return;
    }
    const auto token = spelling(static_cast<TokenId>(i));
    if (!token) {
      kinds_.push_back(Kind::absent);
    } else if (byte_level_) {
      if (!append_bytes_of(texts_, *token)) texts_ += *token;
      kinds_.push_back(Kind::text);
    } else {
      pair.assign({std::string(), std::string(*token)});
      for (const Decoder* step : before_) step->apply(pair);
      if (spaces_) pair[1].insert(pair[1].begin(), ' ');
      kinds_.push_back(put(std::move(pair[1])));
    }
  }
  begin_.push_back(texts_.size());
}

DecodingTable::Kind DecodingTable::put(std::string text) {
  const int byte = fallback_ ? ByteFallbackDecoder::named_byte(text) : -1;
  if (byte < 0) {
    texts_ += text;
    return Kind::text;
  }
  texts_ += static_cast<char>(byte);
  return Kind::byte;
}

std::string DecodingTable::first(std::string_view spelling) const {
  std::vector<std::string> tokens = {std::string(spelling)};
  for (const Decoder* step : before_) step->apply(tokens);
  return std::move(tokens[0]);
}

std::string DecodingTable::decode(std::span<const TokenId> ids, const std::vector<bool>* skipped,
                                  const Spelling& spelling) const {
  std::string out;
  out.reserve(ids.size() * 5);
  std::size_t bytes = 0;  // the last ones of `out`, which are no text yet
  const auto flush = [&] {
    if (bytes == 0) return;
    if (!is_valid_utf8(std::string_view(out).substr(out.size() - bytes))) {
      out.resize(out.size() - bytes);
      for (; bytes > 0; --bytes) out += "\xEF\xBF\xBD";
    }
    bytes = 0;
  };
  bool begun = byte_level_;
  for (const TokenId id : ids) {
    const auto index = static_cast<std::size_t>(id);
    if (skipped != nullptr && (*skipped)[index]) continue;
    Kind kind = kinds_[index];
    if (kind == Kind::absent) continue;
    if (begun) {
      if (kind != Kind::byte) flush();
      out.append(texts_, begin_[index], begin_[index + 1] - begin_[index]);
    } else {
      const std::string text = first(*spelling(id));
      const int byte = fallback_ ? ByteFallbackDecoder::named_byte(text) : -1;
      kind = byte < 0 ? Kind::text : Kind::byte;
      byte < 0 ? out.append(text) : out.append(1, static_cast<char>(byte));
      begun = true;
    }
    if (kind == Kind::byte) ++bytes;
  }
  flush();
  if (byte_level_) {
    if (is_valid_utf8(out)) return out;
    std::string text;
    text.reserve(out.size());
    append_repaired_utf8(text, out);
    return text;
  }
  if (behind_.empty()) return out;
  std::vector<std::string> fused = {std::move(out)};
  for (const Decoder* step : behind_) step->apply(fused);
  std::string text;
  for (const std::string& token : fused) text += token;
  return text;
}

}  // namespace mobula::text
