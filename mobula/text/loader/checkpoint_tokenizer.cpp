#include "mobula/text/loader/checkpoint_tokenizer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/text/loader/components.hpp"
#include "mobula/text/loader/tokenizer_settings.hpp"
#include "mobula/text/sentencepiece/model_file.hpp"
#include "mobula/text/tiktoken/tiktoken_file.hpp"
#include "mobula/text/tokenizer_json.hpp"

namespace mobula::text {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxVocabularyBytes = std::size_t{1} << 30;

// The added tokens of a tokenizer: those that the vocabulary has keep its ids, others are numbered on from its end.
class TokenList {
 public:
  TokenList(TokenId end, std::function<TokenId(const std::string&)> find) : end_(end), find_(std::move(find)) {}

  // Adds a token, or gives one that is there other properties. Returns its id.
  TokenId add(AddedToken token) {
    token.id = find(token.content);
    if (token.id < 0) token.id = end_++;
    const TokenId id = token.id;
    places_.insert_or_assign(token.content, id);
    tokens_.insert_or_assign(id, std::move(token));
    return id;
  }
  // Adds one unless it is there. Returns its id.
  TokenId ensure(AddedToken token) {
    const auto found = places_.find(token.content);
    return found == places_.end() ? add(std::move(token)) : found->second;
  }
  TokenId find(const std::string& content) const {
    const auto found = places_.find(content);
    return found == places_.end() ? find_(content) : found->second;
  }
  TokenId end() const { return end_; }
  std::vector<AddedToken> tokens() const {
    std::vector<AddedToken> list;
    for (const auto& entry : tokens_) list.push_back(entry.second);
    return list;
  }

 private:
  TokenId end_;
  std::function<TokenId(const std::string&)> find_;
  std::map<TokenId, AddedToken> tokens_;
  std::unordered_map<std::string, TokenId> places_;
};

// Adds what the folder names, and returns the post-processor for what surrounds a text.
std::string add_tokens(const TokenizerSettings& settings, const TokenizerClass& kind, TokenList& list) {
  for (const auto& [id, token] : settings.added_tokens()) {
    const TokenId given = list.add(token);
    if (given == id) continue;
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: the added token '{}' has id {}, expected {}", settings.path().string(),
                            token.content.substr(0, 80), id, given),
                "ids of added tokens go on from the vocabulary's end without a gap");
  }
  std::vector<std::pair<std::string, TokenId>> before, after;
  if (auto bos = settings.special("bos_token", kind.bos)) {
    const TokenId id = list.ensure(*bos);
    if (settings.flag("add_bos_token").value_or(kind.adds_bos)) before.emplace_back(bos->content, id);
  }
  if (auto eos = settings.special("eos_token", kind.eos)) {
    const TokenId id = list.ensure(*eos);
    if (settings.flag("add_eos_token").value_or(kind.adds_eos)) after.emplace_back(eos->content, id);
  }
  for (AddedToken& token : settings.special_tokens()) list.ensure(std::move(token));
  return surrounding_json(before, after);
}

std::string sentencepiece_json(const TokenizerSettings& settings, const fs::path& path, std::string_view content) {
  const TokenizerClass& kind = settings.tokenizer_class(/*byte_level=*/false);
  SentencePieceFile file = SentencePieceFile::parse(content, path.string());
  std::unordered_map<std::string, TokenId> ids;
  for (const auto& piece : file.pieces) ids.emplace(piece.text, static_cast<TokenId>(ids.size()));
  // Fine-tuned models give unused pieces other names.
  for (const auto& [id, token] : settings.added_tokens()) {
    if (static_cast<std::size_t>(id) >= file.pieces.size() || ids.contains(token.content)) continue;
    std::string& text = file.pieces[static_cast<std::size_t>(id)].text;
    ids.erase(text);
    text = token.content;
    ids.emplace(text, id);
  }
  TokenList list(static_cast<TokenId>(file.pieces.size()), [&](const std::string& text) {
    const auto found = ids.find(text);
    return found == ids.end() ? -1 : found->second;
  });
  for (AddedToken& token : file.added_tokens()) list.add(std::move(token));
  for (std::int64_t i = settings.extra_ids(kind.extra_ids); i-- > 0;)
    list.ensure(special_token(fmt::format("<extra_id_{}>", i), -1));
  SentencePieceFile::Conversion conversion;
  conversion.post_processor = add_tokens(settings, kind, list);
  conversion.added_tokens = list.tokens();
  conversion.splits_at_white_space = kind.splits_at_white_space;
  using Prefix = SentencePieceFile::Prefix;
  if (kind.has_legacy && !settings.flag("legacy").value_or(false)) conversion.prefix = Prefix::first;
  if (!settings.flag("add_prefix_space").value_or(true)) conversion.prefix = Prefix::never;
  return file.to_json(conversion);
}

// The pairs of merges.txt, a line each behind one that says the version.
std::string read_merges(const fs::path& path) {
  const MappedFile file(path);
  std::string merges;
  std::string_view rest = file.text();
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (number == 1 && line.starts_with("#version"))) continue;
    const std::size_t space = line.find(' ');
    if (space == 0 || space == std::string_view::npos || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: line {}: expected two tokens", path.string(), number));
    }
    merges += fmt::format("{}[{}, {}]", merges.empty() ? "" : ",\n", json_text(line.substr(0, space)),
                          json_text(line.substr(space + 1)));
  }
  return merges;
}

// vocab.json and merges.txt, as GPT-2, OPT and Qwen have them.
std::string byte_level_json(const TokenizerSettings& settings, const fs::path& path, std::string_view content) {
  const TokenizerClass& kind = settings.tokenizer_class(/*byte_level=*/true);
  if (content.size() > kMaxVocabularyBytes) {
    throw Error(ErrorCode::resource,
                fmt::format("{}: a vocabulary of {} bytes is refused", path.string(), content.size()));
  }
  // Not a Json, which looks its keys up one by one.
  const auto vocabulary = nlohmann::json::parse(content, nullptr, /*allow_exceptions=*/false);
  if (!vocabulary.is_object())
    throw Error(ErrorCode::corrupt, fmt::format("{}: expected a JSON object", path.string()));
  std::int64_t end = 0;
  for (const auto& [token, id] : vocabulary.items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxTokenId)) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: '{}' has no token id", path.string(), token.substr(0, 80)));
    }
    end = std::max(end, id.get<std::int64_t>() + 1);
  }
  TokenList list(static_cast<TokenId>(end), [&](const std::string& text) {
    const auto found = vocabulary.find(text);
    return found == vocabulary.end() ? -1 : found->get<TokenId>();
  });
  const std::string post_processor = add_tokens(settings, kind, list);
  const bool prefix = settings.flag("add_prefix_space").value_or(false);
  const auto bytes = [&](bool use_regex) {
    return fmt::format(R"({{"type": "ByteLevel", "add_prefix_space": {}, "trim_offsets": true, "use_regex": {}}})",
                       prefix, use_regex);
  };
  const std::string pre_tokenizer =
      kind.split.empty()
          ? bytes(true)
          : fmt::format(
                R"({{"type": "Sequence", "pretokenizers": [{{"type": "Split", "pattern": {{"Regex": {}}}, "behavior": "Isolated", "invert": false}}, {}]}})",
                json_text(tiktoken_pattern(kind.split)), bytes(false));
  return fmt::format(
      R"({{"version": "1.0", "truncation": null, "padding": null, "added_tokens": {}, "normalizer": {}, "pre_tokenizer": {},
"post_processor": {}, "decoder": {}, "model": {{"type": "BPE", "dropout": null, "unk_token": null,
"continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
"vocab": {}, "merges": [{}]}}}})",
      added_tokens_json(list.tokens()), kind.split.empty() ? "null" : R"({"type": "NFC"})", pre_tokenizer,
      post_processor, bytes(true), vocabulary.dump(), read_merges(path.parent_path() / "merges.txt"));
}

// Llama 3 came with the ranks alone; its tokens behind them are listed in the code beside.
std::vector<std::pair<std::string, TokenId>> llama3_tokens(TokenId first) {
  constexpr int kNumTokens = 256;
  std::vector<std::string> names = {"<|begin_of_text|>",
                                    "<|end_of_text|>",
                                    "<|reserved_special_token_0|>",
                                    "<|reserved_special_token_1|>",
                                    "<|finetune_right_pad_id|>",
                                    "<|reserved_special_token_2|>",
                                    "<|start_header_id|>",
                                    "<|end_header_id|>",
                                    "<|eom_id|>",
                                    "<|eot_id|>",
                                    "<|python_tag|>"};
  for (int i = 3; names.size() < kNumTokens; ++i) names.push_back(fmt::format("<|reserved_special_token_{}|>", i));
  std::vector<std::pair<std::string, TokenId>> tokens;
  for (std::string& name : names) tokens.emplace_back(std::move(name), first + static_cast<TokenId>(tokens.size()));
  return tokens;
}

std::string tiktoken_json(const TokenizerSettings& settings, const fs::path& path, std::string_view content) {
  const TiktokenFile file = TiktokenFile::parse(content, path.string());
  TokenId end = 0;
  for (const auto& token : file.tokens) end = std::max(end, token.second + 1);
  TiktokenOptions options = known_tiktoken_options(path.stem().string());
  const bool llama = settings.model_type() == "llama";
  if (options.pattern.empty()) {
    if (!llama) {
      throw Error(
          ErrorCode::unsupported,
          fmt::format("{}: neither its name nor config.json's model_type '{}' says by which pattern texts are cut",
                      path.string(), settings.model_type().substr(0, 80)),
          "write it as tokenizer.json: mobula tokenizer convert FILE --pattern NAME --out DIR");
    }
    options.pattern = "llama3";
  }
  const auto added = settings.added_tokens();
  if (!added.empty()) options.special_tokens.clear();
  for (const auto& [id, token] : added) {
    if (id >= end) options.special_tokens.emplace_back(token.content, id);
  }
  if (options.special_tokens.empty() && llama) options.special_tokens = llama3_tokens(end);
  std::vector<std::pair<std::string, TokenId>> before;
  const auto bos = settings.special("bos_token", llama ? "<|begin_of_text|>" : "");
  for (const auto& [token, id] : options.special_tokens) {
    if (bos && bos->content == token && settings.flag("add_bos_token").value_or(llama)) before.emplace_back(token, id);
  }
  return file.to_json(options, surrounding_json(before, {}));
}

}  // namespace

bool has_tokenizer_settings(const fs::path& folder) {
  return TokenizerSettings(folder).any();
}

std::string checkpoint_tokenizer_json(const fs::path& folder, const fs::path& file, std::string_view content) {
  const TokenizerSettings settings(folder);
  if (file.filename() == "vocab.json") return byte_level_json(settings, file, content);
  return TiktokenFile::matches(content) ? tiktoken_json(settings, file, content)
                                        : sentencepiece_json(settings, file, content);
}

}  // namespace mobula::text
