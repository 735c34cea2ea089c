/// What a checkpoint's folder says of its tokenizer beside the vocabulary: transformers' class, special and added tokens.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/text/added_tokens.hpp"

namespace mobula::text {

/// How a class of transformers uses its file, where tokenizer_config.json doesn't say.
struct TokenizerClass {
  std::string_view name;
  std::vector<std::string_view> families;  ///< values of model_type whose checkpoints use it
  bool byte_level = false;                 ///< vocab.json and merges.txt; else a SentencePiece model
  bool adds_bos = false;
  bool adds_eos = false;
  std::string_view bos = "<s>";
  std::string_view eos = "</s>";
  std::int64_t extra_ids = 0;  ///< sentinels <extra_id_0> ... behind the pieces, the last one first
  bool splits_at_white_space = false;
  bool has_legacy = false;  ///< knows the switch "legacy": spaces in front of all texts between added tokens
  std::string_view split;   ///< byte-level: the pattern that cuts texts, by tiktoken's name; texts are NFC then
};

/// A folder's tokenizer_config.json, special_tokens_map.json and added_tokens.json. Errors name file and key.
class TokenizerSettings {
 public:
  /// Reads the files that are there. Throws Error(corrupt) for one that is no JSON object.
  explicit TokenizerSettings(const std::filesystem::path& folder);

  /// Tells whether the folder is that of a checkpoint at all.
  bool any() const { return !config_.empty() || class_of_family(/*byte_level=*/false) != nullptr; }
  /// Returns config.json's model_type; empty where there is none.
  const std::string& model_type() const { return model_type_; }
  /// Returns the class whose files are of the kind that was found. Throws Error(unsupported) for one that is not known here.
  const TokenizerClass& tokenizer_class(bool byte_level) const;

  /// Each looks a key of tokenizer_config.json up; nothing, or `usual`, where it is absent or null.
  std::optional<bool> flag(std::string_view key) const;
  std::optional<std::string> text(std::string_view key) const;
  std::int64_t extra_ids(std::int64_t usual) const;

  /// Returns the token under a name such as "bos_token"; `usual` where nothing is said, nothing where null is. Ids are not set.
  std::optional<AddedToken> special(std::string_view key, std::string_view usual) const;
  /// Returns those under the other such names, and lists of further ones.
  std::vector<AddedToken> special_tokens() const;
  /// Returns tokens with the ids that the folder gives them, by id.
  std::map<TokenId, AddedToken> added_tokens() const;

  /// Returns where tokenizer_config.json lies.
  const std::filesystem::path& path() const { return path_; }

 private:
  const TokenizerClass* class_of_family(bool byte_level) const;
  AddedToken read_token(std::string_view key, const Json& value, bool special) const;
  [[noreturn]] void refuse(std::string_view key, const Json& value, std::string_view expected) const;

  std::filesystem::path path_, added_path_;
  Json config_, special_, added_;
  std::string model_type_;
};

}  // namespace mobula::text
