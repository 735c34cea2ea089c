#include "mobula/text/bpe_trainer.hpp"

#include <gtest/gtest.h>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/text/reference/python_reference.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

TEST(TrainBpe, MergesTheMostFrequentPairFirst) {
  const auto tokenizer = train_bpe("low low low lower lowest", {.vocab_size = 260, .special_tokens = {}});
  // "lo" and "ow" are equally frequent; the pair of smaller ids wins.
  EXPECT_EQ(tokenizer->id_to_token(256), "lo");
  EXPECT_EQ(tokenizer->id_to_token(257), "low");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("low\n lowest")), "low\n lowest");
}

TEST(TrainBpe, RefusesAVocabularyWithoutRoomForTheBytes) {
  EXPECT_THROW(train_bpe("text", {.vocab_size = 100}), Error);
  EXPECT_THROW(train_bpe("", {}), Error);
}

TEST(TrainBpe, StopsWherePairsRunOut) {
  EXPECT_EQ(train_bpe("ab", {.vocab_size = 1000, .special_tokens = {}})->vocab_size(), 257U);
  EXPECT_EQ(train_bpe("ab ab cd", {.vocab_size = 1000, .min_frequency = 2, .special_tokens = {}})->vocab_size(), 257U);
}

TEST(TrainBpe, LearnsTheSameFromAStreamAsFromOneText) {
  BpeTrainer trainer({.vocab_size = 300});
  trainer.feed("the cat sat on the mat\n");
  trainer.feed("the hat\n");
  EXPECT_EQ(trainer.train()->to_json(), train_bpe("the cat sat on the mat\nthe hat\n", {.vocab_size = 300})->to_json());
}

TEST(TrainBpe, LearnsTheVocabularyOfHuggingFace) {
  if (without_python()) GTEST_SKIP();
  // Words of few letters in several scripts, so that many pairs are equally frequent and repeat within words.
  Random random(20260101);
  std::string text;
  for (int i = 0; i < 60000; ++i) {
    static constexpr std::string_view kLetters[] = {"a", "a", "b", "c", "\xC3\xA9", "\xE4\xB8\x96", "'s", "1"};
    for (std::uint64_t letter = 0, size = 1 + random.below(9); letter < size; ++letter)
      text += kLetters[random.below(8)];
    text += random.below(20) == 0 ? "\n" : " ";
  }
  const TemporaryDirectory folder("bpe");
  write_file_atomic(folder.path() / "text", text);
  const std::vector<Json> expected = run_reference("bpe_vocabulary.py", {(folder.path() / "text").string(), "1500"});
  const auto tokenizer = train_bpe(text, {.vocab_size = 1500});
  ASSERT_EQ(tokenizer->vocab_size(), expected[0].size());
  for (std::size_t id = 0; id < expected[0].size(); ++id) {
    ASSERT_EQ(tokenizer->id_to_token(static_cast<TokenId>(id)), expected[0][id].get<std::string>()) << id;
  }
  EXPECT_EQ(parse_json(tokenizer->to_json(), "tokenizer")["model"]["merges"], expected[1]);
}

}  // namespace
}  // namespace mobula::text
