#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "mobula/text/loader/components.hpp"
#include "mobula/text/models/bpe.hpp"
#include "mobula/text/models/unigram.hpp"
#include "mobula/text/models/word_piece.hpp"

namespace mobula::text {
namespace {

Vocabulary read_vocabulary(const JsonValue& value) {
  const simdjson::dom::object object = value.object();
  Vocabulary vocabulary;
  vocabulary.reserve(object.size(), object.size() * 8);
  for (const auto& [token, id] : object) {
    std::int64_t number = 0;
    if (id.get(number) != simdjson::SUCCESS || number < 0 || number > kMaxTokenId) {
      value.fail(fmt::format("id of '{}': expected an integer from 0 to {}", token, kMaxTokenId));
    }
    vocabulary.add(token, static_cast<TokenId>(number));
  }
  return vocabulary;
}

std::unique_ptr<Model> read_bpe(const JsonValue& value) {
  BpeOptions options;
  if (const auto dropout = value.find("dropout"); dropout && dropout->number() != 0) {
    dropout->unsupported("BPE dropout makes ids random; set it to null");
  }
  if (const auto unk = value.find("unk_token")) options.unk_token = unk->string();
  options.continuing_subword_prefix = value.text("continuing_subword_prefix", "");
  options.end_of_word_suffix = value.text("end_of_word_suffix", "");
  options.fuse_unk = value.flag("fuse_unk", false);
  options.byte_fallback = value.flag("byte_fallback", false);
  options.ignore_merges = value.flag("ignore_merges", false);

  const JsonValue list = value.at("merges");
  std::vector<std::pair<std::string_view, std::string_view>> merges;
  merges.reserve(list.array().size());
  for (const simdjson::dom::element element : list.array()) {
    const auto fail = [&] { list.item(element, merges.size()).fail("expected a pair of tokens"); };
    std::string_view text;
    simdjson::dom::array pair;
    if (element.get(text) == simdjson::SUCCESS) {
      const std::size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) fail();
      merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    } else {
      std::string_view left;
      std::string_view right;
      if (element.get(pair) != simdjson::SUCCESS || pair.size() != 2 || pair.at(0).get(left) != simdjson::SUCCESS ||
          pair.at(1).get(right) != simdjson::SUCCESS) {
        fail();
      }
      merges.emplace_back(left, right);
    }
  }
  std::string name = value.path().substr(0, value.path().find(": "));
  return std::make_unique<BpeModel>(read_vocabulary(value.at("vocab")), merges, std::move(options), name);
}

// Reads a score as the library does: the digits as one integer, scaled by a power of ten, each step rounded. That can be
// one unit in the last place off, which decides between segmentations of equal score.
double rounded_like_serde(double value) {
  if (value == 0 || !std::isfinite(value)) return value;
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, std::fabs(value), std::chars_format::scientific);
  *end.ptr = '\0';
  std::uint64_t digits = 0;
  int fraction = -1;  // digits behind the point
  const char* at = text;
  for (; at != end.ptr && *at != 'e'; ++at) {
    if (*at == '.') {
      fraction = 0;
      continue;
    }
    digits = digits * 10 + static_cast<std::uint64_t>(*at - '0');
    fraction += fraction >= 0;
  }
  const int exponent = std::atoi(at + 1) - std::max(fraction, 0);
  const auto whole = static_cast<double>(digits);
  const double scaled = exponent < 0 ? whole / std::pow(10.0, -exponent) : whole * std::pow(10.0, exponent);
  return value < 0 ? -scaled : scaled;
}

std::unique_ptr<Model> read_unigram(const JsonValue& value) {
  const JsonValue list = value.at("vocab");
  std::vector<std::pair<std::string_view, double>> tokens;
  tokens.reserve(list.array().size());
  for (const simdjson::dom::element element : list.array()) {
    simdjson::dom::array pair;
    std::string_view token;
    double score = 0;
    if (element.get(pair) != simdjson::SUCCESS || pair.size() != 2 || pair.at(0).get(token) != simdjson::SUCCESS ||
        pair.at(1).get(score) != simdjson::SUCCESS) {
      list.item(element, tokens.size()).fail("expected a token and its score");
    }
    tokens.emplace_back(token, rounded_like_serde(score));
  }
  TokenId unk = -1;
  if (const auto id = value.find("unk_id")) {
    unk = static_cast<TokenId>(id->integer(kMaxTokenId));
    if (static_cast<std::size_t>(unk) >= tokens.size())
      id->fail(fmt::format("is outside the vocabulary of {} tokens", tokens.size()));
  }
  return std::make_unique<UnigramModel>(tokens, unk, value.flag("byte_fallback", false));
}

std::unique_ptr<Model> read_word_piece(const JsonValue& value) {
  const auto most = value.find("max_input_chars_per_word");
  return std::make_unique<WordPieceModel>(read_vocabulary(value.at("vocab")), value.text("unk_token", "[UNK]"),
                                          value.text("continuing_subword_prefix", "##"),
                                          most ? static_cast<std::size_t>(most->integer(1 << 30)) : 100);
}

}  // namespace

std::unique_ptr<Model> read_model(const JsonValue& value) {
  // Files of old name no type; the members tell.
  const std::string_view guess = value.find("merges")                      ? "BPE"
                                 : value.at("vocab").is_array()            ? "Unigram"
                                 : value.find("continuing_subword_prefix") ? "WordPiece"
                                                                           : "WordLevel";
  const std::string type = value.text("type", guess);
  if (type == "BPE") return read_bpe(value);
  if (type == "Unigram") return read_unigram(value);
  if (type == "WordPiece") return read_word_piece(value);
  if (type == "WordLevel") {
    return std::make_unique<WordLevelModel>(read_vocabulary(value.at("vocab")), value.text("unk_token", "<unk>"));
  }
  value.unsupported(fmt::format("model type '{}' is not known", type));
}

}  // namespace mobula::text
