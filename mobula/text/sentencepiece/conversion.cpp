// A SentencePiece model as tokenizer.json.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/text/base64.hpp"
#include "mobula/text/sentencepiece/model_file.hpp"
#include "mobula/text/tokenizer_json.hpp"

namespace mobula::text {
namespace {

using File = SentencePieceFile;

constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";

// Every way to make a piece out of two others is a merge; better pieces are made first.
std::string merges(const File& file) {
  struct Merge {
    float score;
    std::string_view left, right;
  };
  std::unordered_map<std::string_view, std::size_t> ids;
  for (std::size_t i = 0; i < file.pieces.size(); ++i) ids.emplace(file.pieces[i].text, i);
  std::vector<Merge> found;
  std::vector<std::pair<std::size_t, std::size_t>> splits;
  for (const File::Piece& piece : file.pieces) {
    if (piece.type != File::PieceType::normal && piece.type != File::PieceType::unused) continue;
    splits.clear();
    for (std::size_t at = 1; at < piece.text.size(); ++at) {
      const auto left = ids.find(std::string_view(piece.text).substr(0, at));
      const auto right = ids.find(std::string_view(piece.text).substr(at));
      if (left != ids.end() && right != ids.end()) splits.emplace_back(left->second, right->second);
    }
    std::sort(splits.begin(), splits.end());
    for (const auto& [left, right] : splits)
      found.push_back({piece.score, file.pieces[left].text, file.pieces[right].text});
  }
  std::stable_sort(found.begin(), found.end(), [](const Merge& a, const Merge& b) { return a.score > b.score; });
  std::string out;
  for (const Merge& merge : found) {
    out += fmt::format("{}\n      [{}, {}]", out.empty() ? "" : ",", json_text(merge.left), json_text(merge.right));
  }
  return out;
}

const char* scheme(File::Prefix prefix) {
  switch (prefix) {
    case File::Prefix::each_text:
      return "always";
    case File::Prefix::first:
      return "first";
    case File::Prefix::never:
      return "never";
  }
  return "never";
}

std::string metaspace(File::Prefix prefix, bool split) {
  return fmt::format(R"({{"type": "Metaspace", "replacement": "{}", "prepend_scheme": "{}", "split": {}}})",
                     kVisibleSpace, scheme(prefix), split);
}

std::string normalizer(const File::Rules& rules, File::Prefix prefix) {
  std::string steps;
  const auto add = [&](const std::string& step) { steps += (steps.empty() ? "" : ",\n    ") + step; };
  if (!rules.precompiled_map.empty()) {
    add(fmt::format(R"({{"type": "Precompiled", "precompiled_charsmap": "{}"}})",
                    encode_base64(rules.precompiled_map)));
  }
  if (rules.remove_extra_whitespaces) {
    add(R"({"type": "Strip", "strip_left": true, "strip_right": true})");
    add(R"({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})");
  } else if (prefix != File::Prefix::first) {
    if (prefix == File::Prefix::each_text) add(fmt::format(R"({{"type": "Prepend", "prepend": "{}"}})", kVisibleSpace));
    add(fmt::format(R"({{"type": "Replace", "pattern": {{"String": " "}}, "content": "{}"}})", kVisibleSpace));
  }
  return steps.empty() ? "null" : fmt::format(R"({{"type": "Sequence", "normalizers": [{}]}})", steps);
}

}  // namespace

std::vector<AddedToken> SentencePieceFile::added_tokens() const {
  std::vector<AddedToken> tokens;
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    const PieceType type = pieces[id].type;
    if (type != PieceType::unknown && type != PieceType::control && type != PieceType::user_defined) continue;
    tokens.push_back(special_token(pieces[id].text, static_cast<TokenId>(id)));
    tokens.back().special = type != PieceType::user_defined;
  }
  return tokens;
}

std::string SentencePieceFile::to_json(const Conversion& conversion) const {
  if (treat_whitespace_as_suffix) {
    throw Error(ErrorCode::unsupported, "tokenizer.json has no step for white space as a suffix of words",
                "use the SentencePiece model itself");
  }
  const Prefix prefix = normalizer.add_dummy_prefix ? conversion.prefix : Prefix::never;
  const bool strips = normalizer.remove_extra_whitespaces;
  std::string pre_tokenizer =
      strips || prefix == Prefix::first ? metaspace(prefix, /*split=*/strips) : std::string("null");
  if (conversion.splits_at_white_space && strips) {
    pre_tokenizer =
        fmt::format(R"({{"type": "Sequence", "pretokenizers": [{{"type": "WhitespaceSplit"}}, {}]}})", pre_tokenizer);
  }
  std::string vocab;
  const bool bpe = algorithm == Algorithm::bpe;
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    const std::string text = json_text(pieces[id].text);
    const char* const comma = id == 0 ? "" : ",";
    vocab += bpe ? fmt::format("{}\n      {}: {}", comma, text, id)
                 : fmt::format("{}\n      [{}, {}]", comma, text, Json(static_cast<double>(pieces[id].score)).dump());
  }
  const std::string unk_text = json_text(pieces[static_cast<std::size_t>(unk)].text);
  const std::string model =
      bpe ? fmt::format(R"("type": "BPE", "dropout": null, "unk_token": {}, "continuing_subword_prefix": null, )"
                        R"("end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": {}, "ignore_merges": false,
    "vocab": {{{}}},
    "merges": [{}])",
                        unk_text, byte_fallback, vocab, merges(*this))
          : fmt::format(R"("type": "Unigram", "unk_id": {}, "byte_fallback": {},
    "vocab": [{}])",
                        unk, byte_fallback, vocab);
  const std::string spaces =
      fmt::format(R"({{"type": "Replace", "pattern": {{"String": "{}"}}, "content": " "}})", kVisibleSpace);
  const std::string strip =
      prefix != Prefix::never ? R"(, {"type": "Strip", "content": " ", "start": 1, "stop": 0})" : "";
  return fmt::format(R"({{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": {},
  "normalizer": {},
  "pre_tokenizer": {},
  "post_processor": {},
  "decoder": {{"type": "Sequence", "decoders": [{}, {{"type": "ByteFallback"}}, {{"type": "Fuse"}}{}]}},
  "model": {{
    {}
  }}
}}
)",
                     added_tokens_json(conversion.added_tokens), text::normalizer(normalizer, prefix), pre_tokenizer,
                     conversion.post_processor, spaces, strip, model);
}

}  // namespace mobula::text
