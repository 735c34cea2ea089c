#include "mobula/text/bpe_file.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mobula/text/tokenizer_json.hpp"

namespace mobula::text {
std::string BpeFile::to_json() const {
  std::vector<AddedToken> added;
  for (const std::string& token : special_tokens) {
    const auto id = std::find(tokens.begin(), tokens.end(), token) - tokens.begin();
    added.push_back(special_token(token, static_cast<TokenId>(id)));
  }
  std::string vocab;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    vocab += fmt::format("{}\n      {}: {}", id == 0 ? "" : ",", json_text(tokens[id]), id);
  }
  std::string pairs;
  for (const auto& [left, right] : merges) {
    pairs += fmt::format("{}\n      [{}, {}]", pairs.empty() ? "" : ",", json_text(left), json_text(right));
  }
  const std::string byte_step = fmt::format(
      R"({{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": {}}})", use_regex);
  return fmt::format(R"({{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": {},
  "normalizer": null,
  "pre_tokenizer": {},
  "post_processor": null,
  "decoder": {},
  "model": {{
    "type": "BPE",
    "dropout": null,
    "unk_token": {},
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": false,
    "vocab": {{{}}},
    "merges": [{}]
  }}
}}
)",
                     added_tokens_json(std::move(added)), byte_level ? byte_step : "null",
                     byte_level ? byte_step : R"({"type": "Fuse"})", unk_token ? json_text(*unk_token) : "null", vocab,
                     pairs);
}

}  // namespace mobula::text
