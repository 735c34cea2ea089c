#include "mobula/text/kmer_tokenizer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <unordered_set>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

constexpr std::size_t kMaxKmers = 1'000'000;

std::vector<std::string> letters_of(std::string_view alphabet) {
  std::string valid;
  append_repaired_utf8(valid, alphabet);
  std::vector<std::string> letters;
  for (std::size_t at = 0; at < valid.size();) {
    const std::size_t begin = at;
    const char32_t letter = next_code_point(valid, at);
    if (letter == '\n') throw_invalid("a line break can't be a letter of an alphabet");
    std::string spelt = valid.substr(begin, at - begin);
    if (std::find(letters.begin(), letters.end(), spelt) != letters.end()) {
      throw_invalid(fmt::format("the alphabet holds '{}' twice", spelt), "give every letter once, such as ACGT");
    }
    letters.push_back(std::move(spelt));
  }
  return letters;
}

}  // namespace

std::shared_ptr<const Tokenizer> make_kmer_tokenizer(std::string_view alphabet, std::size_t k) {
  const std::vector<std::string> letters = letters_of(alphabet);
  if (letters.empty()) throw_invalid("the alphabet is empty", "name its letters, such as ACGT");
  if (k == 0) throw_invalid("k is 0", "a k-mer has at least one letter");
  std::vector<std::string> kmers = {""};
  for (std::size_t i = 0; i < k; ++i) {
    if (kmers.size() > kMaxKmers / letters.size() || i > 1000) {
      throw_invalid(fmt::format("{} letters make more than {} words of {}", letters.size(), kMaxKmers, k),
                    "choose a smaller k");
    }
    std::vector<std::string> longer;
    longer.reserve(kmers.size() * letters.size());
    for (const std::string& kmer : kmers) {
      for (const std::string& letter : letters) longer.push_back(kmer + letter);
    }
    kmers = std::move(longer);
  }
  Json vocabulary = Json::object();
  // Json looks keys up one by one: a million of them want a table.
  auto& entries = vocabulary.get_ref<Json::object_t&>();
  std::unordered_set<std::string> known;
  const auto add = [&](const std::string& token) {
    if (known.insert(token).second) entries.emplace_back(token, entries.size());
  };
  add("<unk>");
  add("\n");
  for (const std::string& letter : letters) add(letter);
  for (const std::string& kmer : kmers) add(kmer);
  std::string any;
  for (const std::string& letter : letters) {
    if (std::string_view("\\]^-[&~").find(letter[0]) != std::string_view::npos) any += '\\';
    any += letter;
  }
  const Json unknown = {{"id", 0},         {"content", "<unk>"},  {"single_word", false}, {"lstrip", false},
                        {"rstrip", false}, {"normalized", false}, {"special", true}};
  const Json file = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", Json::array({unknown})},
                     {"normalizer", nullptr},
                     {"pre_tokenizer",
                      {{"type", "Split"},
                       {"pattern", {{"Regex", fmt::format("[{}]{{{}}}|[\\s\\S]", any, k)}}},
                       {"behavior", "Isolated"},
                       {"invert", false}}},
                     {"post_processor", nullptr},
                     {"decoder", {{"type", "Fuse"}}},
                     {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", "<unk>"}}}};
  return Tokenizer::parse(file.dump(), "k-mer tokenizer");
}

}  // namespace mobula::text
