#include "mobula/text/tiktoken/tiktoken_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "mobula/base/error.hpp"
#include "mobula/text/base64.hpp"
#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/loader/components.hpp"
#include "mobula/text/tokenizer_json.hpp"

namespace mobula::text {
namespace {

// As tokenizer.json spells them; tiktoken's own spellings differ in what they keep from backtracking, not in what they match.
constexpr std::string_view kR50k = R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kCl100k =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string spelt(std::string_view bytes) {
  std::string out;
  append_byte_level(out, bytes);
  return out;
}

// Moves `content` behind its first line and returns that.
std::string_view take_line(std::string_view& content) {
  const std::size_t end = std::min(content.find('\n'), content.size());
  std::string_view line = content.substr(0, end);
  content.remove_prefix(std::min(end + 1, content.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

bool read_line(std::string_view line, std::string& bytes, TokenId& rank) {
  const std::size_t space = line.find(' ');
  if (space == 0 || space == std::string_view::npos) return false;
  auto decoded = decode_base64(line.substr(0, space));
  const char* const end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data() + space + 1, end, rank);
  if (!decoded || decoded->empty() || error != std::errc{} || stop != end || rank < 0 || rank > kMaxTokenId)
    return false;
  bytes = std::move(*decoded);
  return true;
}

}  // namespace

bool TiktokenFile::matches(std::string_view content) {
  constexpr std::size_t kLongestLine = 4096;
  content = content.substr(0, kLongestLine);
  std::string bytes;
  TokenId rank = 0;
  return read_line(take_line(content), bytes, rank);
}

TiktokenFile TiktokenFile::parse(std::string_view content, std::string_view name) {
  TiktokenFile file;
  std::unordered_map<std::string, std::size_t> seen;
  std::vector<bool> ranks;
  std::size_t number = 0;
  while (!content.empty()) {
    const std::string_view line = take_line(content);
    ++number;
    if (line.empty()) continue;
    std::string bytes;
    TokenId rank = 0;
    const auto fail = [&](std::string_view what) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: line {}: {}", name, number, what));
    };
    if (!read_line(line, bytes, rank)) fail("expected a token in base64, a space and its rank");
    if (!seen.emplace(bytes, number).second) fail(fmt::format("the token of line {} again", seen[bytes]));
    if (ranks.size() <= static_cast<std::size_t>(rank)) ranks.resize(static_cast<std::size_t>(rank) + 1);
    if (ranks[static_cast<std::size_t>(rank)]) fail(fmt::format("rank {} is there twice", rank));
    ranks[static_cast<std::size_t>(rank)] = true;
    file.tokens.emplace_back(std::move(bytes), rank);
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (!seen.contains(std::string(1, static_cast<char>(byte)))) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: no token for the byte 0x{:02X}", name, byte));
    }
  }
  return file;
}

std::string TiktokenFile::to_json(const TiktokenOptions& options, const std::string& post_processor) const {
  std::vector<const std::pair<std::string, TokenId>*> order;
  std::unordered_map<std::string_view, TokenId> ids;
  for (const auto& token : tokens) {
    order.push_back(&token);
    ids.emplace(token.first, token.second);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->second < b->second; });
  std::string vocab;
  std::string merges;
  std::vector<std::pair<TokenId, TokenId>> splits;
  for (const auto* token : order) {
    const std::string_view bytes = token->first;
    vocab += fmt::format("{}\n      {}: {}", vocab.empty() ? "" : ",", json_text(spelt(bytes)), token->second);
    splits.clear();
    std::unordered_map<TokenId, std::size_t> places;
    for (std::size_t at = 1; at < bytes.size(); ++at) {
      const auto left = ids.find(bytes.substr(0, at));
      const auto right = ids.find(bytes.substr(at));
      if (left == ids.end() || right == ids.end()) continue;
      splits.emplace_back(left->second, right->second);
      places[left->second] = at;
    }
    std::sort(splits.begin(), splits.end());
    for (const auto& split : splits) {
      const std::size_t at = places[split.first];
      merges += fmt::format("{}\n      [{}, {}]", merges.empty() ? "" : ",", json_text(spelt(bytes.substr(0, at))),
                            json_text(spelt(bytes.substr(at))));
    }
  }
  std::vector<AddedToken> added;
  for (const auto& [content, id] : options.special_tokens) {
    added.push_back(special_token(content, id));
    vocab += fmt::format(",\n      {}: {}", json_text(content), id);
  }
  const std::string_view bytes =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})";
  return fmt::format(R"({{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": {},
  "normalizer": null,
  "pre_tokenizer": {{"type": "Sequence", "pretokenizers": [
    {{"type": "Split", "pattern": {{"Regex": {}}}, "behavior": "Removed", "invert": true}},
    {}]}},
  "post_processor": {},
  "decoder": {},
  "model": {{"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
    "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
    "vocab": {{{}}},
    "merges": [{}]
  }}
}}
)",
                     added_tokens_json(std::move(added)), json_text(tiktoken_pattern(options.pattern)), bytes,
                     post_processor, bytes, vocab, merges);
}

TiktokenOptions known_tiktoken_options(std::string_view name) {
  const std::string end = "<|endoftext|>";
  if (name == "r50k_base" || name == "p50k_base" || name == "gpt2") return {"r50k", {{end, 50256}}};
  if (name == "p50k_edit") {
    return {"r50k", {{end, 50256}, {"<|fim_prefix|>", 50281}, {"<|fim_middle|>", 50282}, {"<|fim_suffix|>", 50283}}};
  }
  if (name == "cl100k_base") {
    return {"cl100k",
            {{end, 100257},
             {"<|fim_prefix|>", 100258},
             {"<|fim_middle|>", 100259},
             {"<|fim_suffix|>", 100260},
             {"<|endofprompt|>", 100276}}};
  }
  if (name == "o200k_base") return {"o200k", {{end, 199999}, {"<|endofprompt|>", 200018}}};
  if (name == "qwen") return {"qwen2", {{end, 151643}, {"<|im_start|>", 151644}, {"<|im_end|>", 151645}}};
  return {};
}

std::string tiktoken_pattern(std::string_view pattern) {
  if (pattern == "r50k" || pattern == "p50k" || pattern == "gpt2") return std::string(kR50k);
  if (pattern == "cl100k" || pattern == "llama3") return std::string(kCl100k);
  if (pattern == "o200k") return std::string(kO200k);
  if (pattern == "qwen2") return std::string(kQwen2);
  return std::string(pattern);
}

}  // namespace mobula::text
