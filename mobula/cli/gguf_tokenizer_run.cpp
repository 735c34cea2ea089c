#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/cli/gguf_tokenizer.hpp"

namespace mobula::cli {
namespace {

// Kinds of tokens, as the file numbers them.
constexpr std::int64_t kUnknown = 2, kControl = 3, kUserDefined = 4;
constexpr std::size_t kMaxPiece = 256;  // longer ones are made of no merges

constexpr const char* kLlama3Split =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+";
constexpr const char* kQwen2Split =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+";

class TokenizerMaker {
 public:
  explicit TokenizerMaker(const nn::GgufMetadata& data) : data_(data), tokens_(*data.texts("tokenizer.ggml.tokens")) {
    const auto* kinds = data.integers("tokenizer.ggml.token_type");
    if (kinds != nullptr && kinds->size() != tokens_.size()) refuse("token_type and tokens differ in length");
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const std::int64_t kind = kinds == nullptr ? 1 : (*kinds)[i];
      // Of the same text the first counts, as in the files' own loader.
      ids_.emplace(tokens_[i], i);
      if (kind == kControl || kind == kUserDefined || kind == kUnknown) {
        json_["added_tokens"].push_back({{"id", i},
                                         {"content", tokens_[i]},
                                         {"single_word", false},
                                         {"lstrip", false},
                                         {"rstrip", false},
                                         {"normalized", false},
                                         {"special", kind != kUserDefined}});
      }
    }
  }

  std::string make(const std::string& model) {
    Json out = {{"version", "1.0"},          {"truncation", nullptr},
                {"padding", nullptr},        {"added_tokens", json_.value("added_tokens", Json::array())},
                {"normalizer", nullptr},     {"pre_tokenizer", nullptr},
                {"post_processor", nullptr}, {"decoder", nullptr}};
    if (model == "llama") {
      add_sentencepiece(out);
    } else if (model == "gpt2") {
      add_byte_level(out);
    } else {
      throw Error(ErrorCode::unsupported, fmt::format("the GGUF file's tokenizer is '{}'", model.substr(0, 80)),
                  "known: llama, gpt2; or put tokenizer.json into a folder with the converted model");
    }
    // Vocabularies are long, and looking a key of an ordered object up is slow: they are written straight into the text.
    std::string vocabulary = "{";
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (ids_.at(tokens_[i]) != i) continue;
      if (vocabulary.size() > 1) vocabulary += ',';
      vocabulary += to_line(Json(tokens_[i])) + ':' + std::to_string(i);
    }
    vocabulary += '}';
    std::string merges = "[";
    for (const auto& [left, right] : merges_) {
      if (merges.size() > 1) merges += ',';
      merges += '[' + to_line(Json(left)) + ',' + to_line(Json(right)) + ']';
    }
    merges += ']';
    std::string model_text = to_line(model_);
    model_text.pop_back();
    model_text += ",\"vocab\":" + vocabulary + ",\"merges\":" + merges + '}';
    std::string text = to_line(out);
    text.pop_back();
    return text + ",\"model\":" + model_text + '}';
  }

 private:
  [[noreturn]] static void refuse(const std::string& what) {
    throw Error(ErrorCode::corrupt, fmt::format("the GGUF file's tokenizer: {}", what));
  }
  const std::string& token(std::int64_t id) const {
    if (id < 0 || static_cast<std::size_t>(id) >= tokens_.size()) refuse(fmt::format("there is no token {}", id));
    return tokens_[static_cast<std::size_t>(id)];
  }

  // The beginning-of-text token, where the model wants one.
  Json post_processor(bool add_by_default) const {
    const auto bos = data_.integer("tokenizer.ggml.bos_token_id");
    if (!bos || !data_.boolean("tokenizer.ggml.add_bos_token").value_or(add_by_default)) return nullptr;
    const std::string& content = token(*bos);
    const Json special = {{"SpecialToken", {{"id", content}, {"type_id", 0}}}};
    const auto sequence = [](const char* id, int type) { return Json{{"Sequence", {{"id", id}, {"type_id", type}}}}; };
    Json pair = Json::array({special, sequence("A", 0), sequence("B", 1)});
    return {{"type", "TemplateProcessing"},
            {"single", Json::array({special, sequence("A", 0)})},
            {"pair", std::move(pair)},
            {"special_tokens",
             {{content, {{"id", content}, {"ids", Json::array({*bos})}, {"tokens", Json::array({content})}}}}}};
  }

  // Every way to put a piece together of two pieces is a merge; better scores come first.
  void make_merges(const std::vector<double>& scores) {
    struct Merge {
      double score;
      std::size_t left_id, right_id, left_size, right_size, order;
    };
    std::vector<Merge> all;
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const std::string& piece = tokens_[i];
      if (piece.size() > kMaxPiece || ids_.at(piece) != i) continue;
      std::vector<Merge> mine;
      for (std::size_t cut = 1; cut < piece.size(); ++cut) {
        if ((static_cast<unsigned char>(piece[cut]) & 0xC0) == 0x80) continue;  // inside a character
        const auto left = ids_.find(piece.substr(0, cut)), right = ids_.find(piece.substr(cut));
        if (left == ids_.end() || right == ids_.end()) continue;
        mine.push_back({scores[i], left->second, right->second, cut, piece.size() - cut, 0});
      }
      std::ranges::sort(mine, {}, [](const Merge& m) { return std::pair(m.left_id, m.right_id); });
      for (Merge& merge : mine) {
        merge.order = all.size();
        all.push_back(merge);
      }
    }
    std::ranges::sort(all, [](const Merge& a, const Merge& b) {
      return std::tuple(-a.score, a.order) < std::tuple(-b.score, b.order);
    });
    for (const Merge& merge : all) merges_.emplace_back(tokens_[merge.left_id], tokens_[merge.right_id]);
  }

  void add_sentencepiece(Json& out) {
    const auto* scores = data_.numbers("tokenizer.ggml.scores");
    if (scores == nullptr || scores->size() != tokens_.size()) refuse("scores and tokens differ in length");
    make_merges(*scores);
    const std::string space = "\u2581";
    Json normalizers = Json::array();
    const bool prepends = data_.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
    if (prepends) normalizers.push_back({{"type", "Prepend"}, {"prepend", space}});
    normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space}});
    out["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
    Json decoders = Json::array({{{"type", "Replace"}, {"pattern", {{"String", space}}}, {"content", " "}},
                                 {{"type", "ByteFallback"}},
                                 {{"type", "Fuse"}}});
    if (prepends) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    out["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
    out["post_processor"] = post_processor(true);
    const auto unknown = data_.integer("tokenizer.ggml.unknown_token_id");
    model_ = {{"type", "BPE"},
              {"dropout", nullptr},
              {"unk_token", unknown ? Json(token(*unknown)) : Json(nullptr)},
              {"continuing_subword_prefix", nullptr},
              {"end_of_word_suffix", nullptr},
              {"fuse_unk", true},
              {"byte_fallback", true},
              {"ignore_merges", false}};
  }

  void add_byte_level(Json& out) {
    const auto* merges = data_.texts("tokenizer.ggml.merges");
    if (merges == nullptr) refuse("no merges");
    for (const std::string& merge : *merges) {
      const auto space = merge.find(' ', 1);
      if (space == std::string::npos) refuse(fmt::format("'{}' is no merge", merge.substr(0, 80)));
      merges_.emplace_back(merge.substr(0, space), merge.substr(space + 1));
    }
    const std::string split = data_.text("tokenizer.ggml.pre").value_or("default");
    const Json bytes = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
    const auto by_regex = [&](const char* regex) {
      const Json cut = {
          {"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
      return Json{{"type", "Sequence"}, {"pretokenizers", Json::array({cut, bytes})}};
    };
    bool ignore_merges = false;
    if (split == "gpt-2" || split == "default") {
      out["pre_tokenizer"] = bytes;
      out["pre_tokenizer"]["use_regex"] = true;
    } else if (split == "llama-bpe" || split == "llama3" || split == "llama-v3") {
      out["pre_tokenizer"] = by_regex(kLlama3Split);
      ignore_merges = true;
    } else if (split == "qwen2" || split == "deepseek-r1-qwen") {
      out["normalizer"] = {{"type", "NFC"}};
      out["pre_tokenizer"] = by_regex(kQwen2Split);
    } else {
      throw Error(ErrorCode::unsupported, fmt::format("the GGUF file's tokenizer splits as '{}'", split.substr(0, 80)),
                  "known: gpt-2, llama-bpe, qwen2; or put tokenizer.json into a folder with the converted model");
    }
    out["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
    out["post_processor"] = post_processor(ignore_merges);
    model_ = {{"type", "BPE"},
              {"dropout", nullptr},
              {"unk_token", nullptr},
              {"continuing_subword_prefix", ""},
              {"end_of_word_suffix", ""},
              {"fuse_unk", false},
              {"byte_fallback", false},
              {"ignore_merges", ignore_merges}};
  }

  const nn::GgufMetadata& data_;
  const std::vector<std::string>& tokens_;
  std::unordered_map<std::string, std::size_t> ids_;
  std::vector<std::pair<std::string, std::string>> merges_;
  Json json_ = Json::object(), model_;
};

}  // namespace

std::string gguf_tokenizer_json(const nn::GgufMetadata& metadata) {
  const auto model = metadata.text("tokenizer.ggml.model");
  if (!model || *model == "none" || metadata.texts("tokenizer.ggml.tokens") == nullptr) return {};
  return TokenizerMaker(metadata).make(*model);
}

text::ModelChatTemplate gguf_chat_template(const nn::GgufMetadata& metadata, const std::string& file) {
  Json special_tokens = Json::object();
  const auto* tokens = metadata.texts("tokenizer.ggml.tokens");
  const std::pair<const char*, const char*> kNames[] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                                        {"eos_token", "tokenizer.ggml.eos_token_id"},
                                                        {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                                        {"pad_token", "tokenizer.ggml.padding_token_id"}};
  for (const auto& [name, key] : kNames) {
    const auto id = metadata.integer(key);
    if (tokens == nullptr || !id || *id < 0 || static_cast<std::size_t>(*id) >= tokens->size()) continue;
    special_tokens[name] = (*tokens)[static_cast<std::size_t>(*id)];
  }
  const std::string first = "tokenizer.chat_template";
  std::map<std::string, text::ChatTemplate> templates;
  for (const auto& entry : metadata.all()) {
    const std::string& key = entry.first;
    if (key != first && !key.starts_with(first + '.')) continue;
    const auto source = metadata.text(key);
    if (!source) continue;
    templates.insert_or_assign(key == first ? "default" : key.substr(first.size() + 1),
                               text::ChatTemplate::parse(*source, fmt::format("{}: {}", file, key)));
  }
  return text::make_chat_template(std::move(special_tokens), std::move(templates));
}

}  // namespace mobula::cli
