#include <fmt/format.h>

#include "mobula/text/loader/components.hpp"
#include "mobula/text/models/bpe.hpp"

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
      if (element.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
          pair.at(0).get(left) != simdjson::SUCCESS || pair.at(1).get(right) != simdjson::SUCCESS) {
        fail();
      }
      merges.emplace_back(left, right);
    }
  }
  std::string name = value.path().substr(0, value.path().find(": "));
  return std::make_unique<BpeModel>(read_vocabulary(value.at("vocab")), merges, std::move(options), name);
}

}  // namespace

std::unique_ptr<Model> read_model(const JsonValue& value) {
  const std::string type = value.text("type", value.find("merges") ? "BPE" : "");
  if (type == "BPE") return read_bpe(value);
  value.unsupported(fmt::format("model type '{}' is not known", type));
}

}  // namespace mobula::text
