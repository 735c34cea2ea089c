#include "mobula/text/bpe_file.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mobula/base/json.hpp"

namespace mobula::text {
namespace {

std::string json_string(std::string_view text) {
  return to_line(Json(text));
}

}  // namespace

std::string BpeFile::to_json() const {
  // Written by hand: a Json object looks its keys up one by one.
  std::string added;
  for (const std::string& token : special_tokens) {
    const auto id = std::find(tokens.begin(), tokens.end(), token) - tokens.begin();
    added += fmt::format(
        R"({}{{"id":{},"content":{},"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}})",
        added.empty() ? "" : ",\n    ", id, json_string(token));
  }
  std::string vocab;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    vocab += fmt::format("{}\n      {}: {}", id == 0 ? "" : ",", json_string(tokens[id]), id);
  }
  std::string pairs;
  for (const auto& [left, right] : merges) {
    pairs += fmt::format("{}\n      [{}, {}]", pairs.empty() ? "" : ",", json_string(left), json_string(right));
  }
  const std::string byte_step = fmt::format(
      R"({{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": {}}})", use_regex);
  return fmt::format(R"({{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": [{}],
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
                     added, byte_level ? byte_step : "null", byte_level ? byte_step : R"({"type": "Fuse"})",
                     unk_token ? json_string(*unk_token) : "null", vocab, pairs);
}

}  // namespace mobula::text
