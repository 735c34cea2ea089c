#include "mobula/text/loader/tokenizer_settings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/text/loader/components.hpp"
#include "mobula/text/tokenizer_json.hpp"

namespace mobula::text {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 24;
constexpr std::size_t kMaxMembers = 16'384;  // Gemma 3 has 6242 added tokens
constexpr std::string_view kEndOfText = "<|endoftext|>";
constexpr std::int64_t kMaxExtraIds = 10'000;

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

}  // namespace

TokenizerSettings::TokenizerSettings(const fs::path& folder)
    : path_(folder / "tokenizer_config.json"),
      added_path_(folder / "added_tokens.json"),
      config_(read_object(path_)),
      special_(read_object(folder / "special_tokens_map.json")),
      added_(read_object(added_path_)) {
  const Json model = read_object(folder / "config.json");
  const auto family = model.find("model_type");
  if (family != model.end() && family->is_string()) model_type_ = family->get<std::string>();
}

const TokenizerClass& TokenizerSettings::tokenizer_class(bool byte_level) const {
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

std::optional<bool> TokenizerSettings::flag(std::string_view key) const {
  const auto found = config_.find(key);
  if (found == config_.end() || found->is_null()) return std::nullopt;
  if (!found->is_boolean()) refuse(key, *found, "true or false");
  return found->get<bool>();
}

std::optional<std::string> TokenizerSettings::text(std::string_view key) const {
  const auto found = config_.find(key);
  if (found == config_.end() || found->is_null()) return std::nullopt;
  if (!found->is_string()) refuse(key, *found, "a string");
  return found->get<std::string>();
}

std::int64_t TokenizerSettings::extra_ids(std::int64_t usual) const {
  const auto found = config_.find("extra_ids");
  if (found == config_.end() || found->is_null()) return usual;
  if (!found->is_number_unsigned() || found->get<std::uint64_t>() > kMaxExtraIds) {
    refuse("extra_ids", *found, fmt::format("a number from 0 to {}", kMaxExtraIds));
  }
  return found->get<std::int64_t>();
}

std::optional<AddedToken> TokenizerSettings::special(std::string_view key, std::string_view usual) const {
  for (const Json* source : {&config_, &special_}) {
    const auto found = source->find(key);
    if (found == source->end()) continue;
    if (found->is_null()) return std::nullopt;
    return read_token(key, *found, /*special=*/true);
  }
  if (usual.empty()) return std::nullopt;
  return special_token(std::string(usual), -1);
}

std::vector<AddedToken> TokenizerSettings::special_tokens() const {
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

std::map<TokenId, AddedToken> TokenizerSettings::added_tokens() const {
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
    add(added_path_, to_line(id).substr(0, 40), id.is_number_integer() ? id.get<std::int64_t>() : -1, std::move(token));
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

void TokenizerSettings::refuse(std::string_view key, const Json& value, std::string_view expected) const {
  throw_invalid(fmt::format("{}: {} is {}, expected {}", path_.string(), key, to_line(value).substr(0, 80), expected));
}

const TokenizerClass* TokenizerSettings::class_of_family(bool byte_level) const {
  for (const TokenizerClass& one : tokenizer_classes()) {
    if (one.byte_level == byte_level && std::ranges::count(one.families, model_type_) > 0) return &one;
  }
  return nullptr;
}

AddedToken TokenizerSettings::read_token(std::string_view key, const Json& value, bool special) const {
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

}  // namespace mobula::text
