// A SentencePiece model as tokenizer.json.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/text/base64.hpp"
#include "mobula/text/sentencepiece/model_file.hpp"

namespace mobula::text {
namespace {

using File = SentencePieceFile;

constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";

std::string json_text(std::string_view text) {
  return to_line(Json(text));
}

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

std::string normalizer(const File::Rules& rules) {
  std::string steps;
  const auto add = [&](const std::string& step) { steps += (steps.empty() ? "" : ",\n    ") + step; };
  if (!rules.precompiled_map.empty()) {
    add(fmt::format(R"({{"type": "Precompiled", "precompiled_charsmap": "{}"}})",
                    encode_base64(rules.precompiled_map)));
  }
  if (rules.remove_extra_whitespaces) {
    add(R"({"type": "Strip", "strip_left": true, "strip_right": true})");
    add(R"({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})");
  } else {
    if (rules.add_dummy_prefix) add(fmt::format(R"({{"type": "Prepend", "prepend": "{}"}})", kVisibleSpace));
    add(fmt::format(R"({{"type": "Replace", "pattern": {{"String": " "}}, "content": "{}"}})", kVisibleSpace));
  }
  return fmt::format(R"({{"type": "Sequence", "normalizers": [{}]}})", steps);
}

}  // namespace

std::string SentencePieceFile::to_json() const {
  if (treat_whitespace_as_suffix) {
    throw Error(ErrorCode::unsupported, "tokenizer.json has no step for white space as a suffix of words",
                "use the SentencePiece model itself");
  }
  const bool strips = normalizer.remove_extra_whitespaces;
  const std::string metaspace =
      fmt::format(R"({{"type": "Metaspace", "replacement": "{}", "prepend_scheme": "{}", "split": true}})",
                  kVisibleSpace, normalizer.add_dummy_prefix ? "always" : "never");
  std::string added;
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    const PieceType type = pieces[id].type;
    if (type != PieceType::unknown && type != PieceType::control && type != PieceType::user_defined) continue;
    added += fmt::format(
        R"({}{{"id": {}, "content": {}, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": {}}})",
        added.empty() ? "" : ",\n    ", id, json_text(pieces[id].text), type != PieceType::user_defined);
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
      normalizer.add_dummy_prefix ? R"(, {"type": "Strip", "content": " ", "start": 1, "stop": 0})" : "";
  return fmt::format(R"({{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": [{}],
  "normalizer": {},
  "pre_tokenizer": {},
  "post_processor": null,
  "decoder": {{"type": "Sequence", "decoders": [{}, {{"type": "ByteFallback"}}, {{"type": "Fuse"}}{}]}},
  "model": {{
    {}
  }}
}}
)",
                     added, text::normalizer(normalizer), strips ? metaspace : "null", spaces, strip, model);
}

}  // namespace mobula::text
