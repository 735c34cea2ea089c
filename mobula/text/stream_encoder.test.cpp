#include <gtest/gtest.h>

#include <random>

#include "mobula/base/files.hpp"
#include "mobula/text/bpe_trainer.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::text {
namespace {

using Ids = std::vector<TokenId>;

std::string prose(std::size_t words, unsigned seed) {
  static const char* const kWords[] = {"the",     "quick",
                                       "brown",   "fox",
                                       "jumps",   "over",
                                       "a",       "lazy",
                                       "dog",     "na\xC3\xAFve",
                                       "world's", "12",
                                       "...",     "\xE4\xB8\x96\xE7\x95\x8C",
                                       "\n",      "<|endoftext|>",
                                       " "};
  std::mt19937 random(seed);
  std::string text;
  for (std::size_t i = 0; i < words; ++i) {
    text += kWords[random() % std::size(kWords)];
    if (random() % 8 != 0) text += ' ';
  }
  return text;
}

Ids encode_in_parts(const std::shared_ptr<const Tokenizer>& tokenizer, std::string_view text, unsigned seed) {
  std::mt19937 random(seed);
  StreamEncoder encoder(tokenizer);
  Ids ids;
  while (!text.empty()) {
    const std::size_t size = std::min<std::size_t>(text.size(), 1 + random() % 300000);
    encoder.push(text.substr(0, size), ids);
    text.remove_prefix(size);
  }
  encoder.finish(ids);
  return ids;
}

TEST(StreamEncoder, GivesTheIdsOfTheWholeText) {
  const std::string text = prose(200000, 1);
  const auto tokenizer = train_bpe(text, {.vocab_size = 600});
  const Encoding whole = tokenizer->encode_full(text);  // never cuts
  EXPECT_EQ(encode_in_parts(tokenizer, text, 2), whole.ids);
  EXPECT_EQ(tokenizer->encode(text), whole.ids);
}

TEST(StreamEncoder, BeginsAnewBehindTheEnd) {
  const auto tokenizer = make_byte_tokenizer();
  StreamEncoder encoder(tokenizer);
  Ids ids;
  encoder.push("a\xE2\x82", ids);
  encoder.push("\xAC", ids);
  encoder.finish(ids);
  encoder.push("b\xE2", ids);
  encoder.finish(ids);
  EXPECT_EQ(ids, (Ids{'a', 0xE2, 0x82, 0xAC, 'b', 0xEF, 0xBF, 0xBD}));
}

TEST(StreamEncoder, GivesOutIdsLongBeforeTheEnd) {
  const auto tokenizer = train_bpe(prose(1000, 3), {.vocab_size = 300});
  StreamEncoder encoder(tokenizer);
  Ids ids;
  const std::string text = prose(100000, 4);
  encoder.push(text, ids);
  EXPECT_GT(tokenizer->decode(ids, false).size(), text.size() - (1 << 18));
}

TEST(StreamEncoder, StopsWhereTruncationDoes) {
  const auto plain = make_byte_tokenizer();
  std::string json = plain->to_json();
  json.replace(json.find("\"truncation\": null"), 18,
               R"("truncation": {"direction": "Right", "max_length": 70000, "strategy": "LongestFirst", "stride": 0})");
  json.replace(
      json.find("\"padding\": null"), 15,
      R"("padding": {"strategy": {"Fixed": 70010}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 7,)"
      R"( "pad_type_id": 0, "pad_token": "x"})");
  const auto tokenizer = Tokenizer::parse(json, "test");
  const std::string text = prose(100000, 5);
  EXPECT_EQ(encode_in_parts(tokenizer, text, 6), tokenizer->encode_full(text).ids);
  EXPECT_EQ(tokenizer->encode(text).size(), 70010U);
}

}  // namespace
}  // namespace mobula::text
