#include "mobula/text/loader/checkpoint_tokenizer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/text/loader/components.hpp"
#include "mobula/text/sentencepiece/model_file.hpp"
#include "mobula/text/tiktoken/tiktoken_file.hpp"
#include "mobula/text/tokenizer_json.hpp"

namespace mobula::text {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 24;
constexpr std::size_t kMaxMembers = 16'384;  // Gemma 3 has 6242 added tokens
constexpr std::size_t kMaxVocabularyBytes = std::size_t{1} << 30;
constexpr std::string_view kEndOfText = "<|endoftext|>";
constexpr std::int64_t kMaxExtraIds = 10'000;

// How a class of transformers uses its file, where tokenizer_config.json doesn't say.
struct TokenizerClass {
  std::string_view name;
  std::vector<std::string_view> families;  // values of model_type whose checkpoints use it
  bool byte_level = false;                 // vocab.json and merges.txt; else a SentencePiece model
  bool adds_bos = false;
  bool adds_eos = false;
  std::string_view bos = "<s>";
  std::string_view eos = "</s>";
  std::int64_t extra_ids = 0;  // sentinels <extra_id_0> ... behind the pieces, the last one first
  bool splits_at_white_space = false;
  bool has_legacy = false;  // knows the switch "legacy": spaces in front of all texts between added tokens
  std::string_view split;   // byte-level: the pattern that cuts texts, by tiktoken's name; texts are NFC then
};

const std::vector<TokenizerClass>& tokenizer_classes() {
  static const std::vector<TokenizerClass> all = {
      {.name = "LlamaTokenizer",
       .families = {"llama", "mistral", "mixtral", "phi3"},
       .adds_bos = true,
       .has_legacy = true},
      {.name = "CodeLlamaTokenizer", .adds_bos = true, .has_legacy = true},
      {.name = "GemmaTokenizer",
       .families = {"gemma", "gemma2", "gemma3_text"},
       .adds_bos = true,
       .bos = "<bos>",
       .eos = "<eos>"},
      {.name = "T5Tokenizer",
       .families = {"t5"},
       .adds_eos = true,
       .bos = "",
       .extra_ids = 100,
       .splits_at_white_space = true},
      {.name = "GPT2Tokenizer",
       .families = {"gpt2", "gptj", "gpt_neox", "opt"},
       .byte_level = true,
       .bos = kEndOfText,
       .eos = kEndOfText},
      {.name = "Qwen2Tokenizer",
       .families = {"qwen2", "qwen3", "qwen2_moe", "qwen3_moe"},
       .byte_level = true,
       .bos = "",
       .eos = kEndOfText,
       .split = "qwen2"},
  };
  return all;
}

// What a folder without a class gets.
const TokenizerClass& plain_class() {
  static const TokenizerClass plain = {.name = "PreTrainedTokenizer"};
  return plain;
}

// "Fast" classes do the same; those without a class of their own take what the file says.
std::string class_name(std::string name) {
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  return name == "TokenizersBackend" ? "PreTrainedTokenizer" : name;
}

Json read_object(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  Json json = parse_json(read_file(path, kMaxConfigBytes), path.string(), {.max_members = kMaxMembers});
  if (!json.is_object()) throw Error(ErrorCode::corrupt, fmt::format("{}: expected a JSON object", path.string()));
  return json;
}

// What a folder says of its tokenizer.
class Settings {
 public:
  explicit Settings(const fs::path& folder)
      : path_(folder / "tokenizer_config.json"),
        added_path_(folder / "added_tokens.json"),
        config_(read_object(path_)),
        special_(read_object(folder / "special_tokens_map.json")),
        added_(read_object(added_path_)) {
    const Json model = read_object(folder / "config.json");
    const auto family = model.find("model_type");
    if (family != model.end() && family->is_string()) model_type_ = family->get<std::string>();
  }

  // Tells whether the folder is that of a checkpoint at all.
  bool any() const { return !config_.empty() || class_of_family(/*byte_level=*/false) != nullptr; }
  const std::string& model_type() const { return model_type_; }
  // Returns the class whose files are of the kind that was found. Throws Error(unsupported) for one that is not known here.
  const TokenizerClass& tokenizer_class(bool byte_level) const {
    const auto named = text("tokenizer_class");
    const std::string name = named ? class_name(*named) : std::string(plain_class().name);
    for (const TokenizerClass& one : tokenizer_classes()) {
      if (one.name == name && one.byte_level == byte_level) return one;
    }
    if (name == plain_class().name) {
      const TokenizerClass* const familys = class_of_family(byte_level);
      if (familys != nullptr && !named) return *familys;
      if (!byte_level) return plain_class();
    }
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: tokenizer_class '{}' has rules of its own", path_.string(), name.substr(0, 80)),
                "save it as tokenizer.json with transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)");
  }

  std::optional<bool> flag(std::string_view key) const {
    const auto found = config_.find(key);
    if (found == config_.end() || found->is_null()) return std::nullopt;
    if (!found->is_boolean()) refuse(key, *found, "true or false");
    return found->get<bool>();
  }
  std::optional<std::string> text(std::string_view key) const {
    const auto found = config_.find(key);
    if (found == config_.end() || found->is_null()) return std::nullopt;
    if (!found->is_string()) refuse(key, *found, "a string");
    return found->get<std::string>();
  }
  std::int64_t extra_ids(std::int64_t usual) const {
    const auto found = config_.find("extra_ids");
    if (found == config_.end() || found->is_null()) return usual;
    if (!found->is_number_unsigned() || found->get<std::uint64_t>() > kMaxExtraIds) {
      refuse("extra_ids", *found, fmt::format("a number from 0 to {}", kMaxExtraIds));
    }
    return found->get<std::int64_t>();
  }

  // The token under a name such as "bos_token"; `usual` where nothing is said, nothing where null is.
  std::optional<AddedToken> special(std::string_view key, std::string_view usual) const {
    for (const Json* source : {&config_, &special_}) {
      const auto found = source->find(key);
      if (found == source->end()) continue;
      if (found->is_null()) return std::nullopt;
      return read_token(key, *found, /*special=*/true);
    }
    if (usual.empty()) return std::nullopt;
    return special_token(std::string(usual), -1);
  }

  // Those under all such names, and lists of further ones.
  std::vector<AddedToken> special_tokens() const {
    std::vector<AddedToken> tokens;
    for (const char* key : {"unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}) {
      if (auto token = special(key, "")) tokens.push_back(std::move(*token));
    }
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      for (const Json* source : {&config_, &special_}) {
        const auto found = source->find(key);
        if (found == source->end() || found->is_null()) continue;
        if (!found->is_structured()) refuse(key, *found, "a list of tokens");
        for (const Json& token : *found) tokens.push_back(read_token(key, token, /*special=*/true));
        break;
      }
    }
    return tokens;
  }

  // Tokens with the ids that the folder gives them, by id.
  std::map<TokenId, AddedToken> added_tokens() const {
    std::map<TokenId, AddedToken> tokens;
    const auto add = [&](const fs::path& path, std::string_view id_text, std::int64_t id, AddedToken token) {
      if (id < 0 || id > kMaxTokenId) {
        throw Error(ErrorCode::corrupt, fmt::format("{}: {} is no token id", path.string(), id_text));
      }
      token.id = static_cast<TokenId>(id);
      tokens.insert_or_assign(token.id, std::move(token));
    };
    for (const auto& [content, id] : added_.items()) {
      AddedToken token;
      token.content = content;
      add(added_path_, to_line(id).substr(0, 40), id.is_number_integer() ? id.get<std::int64_t>() : -1,
          std::move(token));
    }
    const auto found = config_.find("added_tokens_decoder");
    if (found == config_.end() || found->is_null()) return tokens;
    if (!found->is_object()) refuse("added_tokens_decoder", *found, "an object of ids and tokens");
    for (const auto& [key, value] : found->items()) {
      std::int64_t id = -1;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || end != key.data() + key.size()) id = -1;
      add(path_, key.substr(0, 40), id, read_token("added_tokens_decoder", value, /*special=*/false));
    }
    return tokens;
  }

  [[noreturn]] void refuse(std::string_view key, const Json& value, std::string_view expected) const {
    throw_invalid(
        fmt::format("{}: {} is {}, expected {}", path_.string(), key, to_line(value).substr(0, 80), expected));
  }
  const fs::path& path() const { return path_; }

 private:
  const TokenizerClass* class_of_family(bool byte_level) const {
    for (const TokenizerClass& one : tokenizer_classes()) {
      if (one.byte_level == byte_level && std::ranges::count(one.families, model_type_) > 0) return &one;
    }
    return nullptr;
  }
  AddedToken read_token(std::string_view key, const Json& value, bool special) const {
    AddedToken token;
    token.special = special;
    token.normalized = !special;
    if (value.is_string()) {
      token.content = value.get<std::string>();
      return token;
    }
    const auto content = value.is_object() ? value.find("content") : value.end();
    if (!value.is_object() || content == value.end() || !content->is_string()) refuse(key, value, "a token");
    token.content = content->get<std::string>();
    const auto read = [&](const char* name, bool& flag) {
      const auto found = value.find(name);
      if (found == value.end()) return;
      if (!found->is_boolean()) refuse(key, value, "a token");
      flag = found->get<bool>();
    };
    read("special", token.special);
    token.normalized = !token.special;
    read("normalized", token.normalized);
    read("single_word", token.single_word);
    read("lstrip", token.lstrip);
    read("rstrip", token.rstrip);
    return token;
  }

  fs::path path_, added_path_;
  Json config_, special_, added_;
  std::string model_type_;
};

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
std::string add_tokens(const Settings& settings, const TokenizerClass& kind, TokenList& list) {
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

std::string sentencepiece_json(const Settings& settings, const fs::path& path, std::string_view content) {
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
std::string byte_level_json(const Settings& settings, const fs::path& path, std::string_view content) {
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

std::string tiktoken_json(const Settings& settings, const fs::path& path, std::string_view content) {
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
  return Settings(folder).any();
}

std::string checkpoint_tokenizer_json(const fs::path& folder, const fs::path& file, std::string_view content) {
  const Settings settings(folder);
  if (file.filename() == "vocab.json") return byte_level_json(settings, file, content);
  return TiktokenFile::matches(content) ? tiktoken_json(settings, file, content)
                                        : sentencepiece_json(settings, file, content);
}

}  // namespace mobula::text
