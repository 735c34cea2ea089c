#include "mobula/text/training/vocabulary_trainer.hpp"

#include <gtest/gtest.h>

#include <random>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/text/reference/python_reference.hpp"

namespace mobula::text {
namespace {

// Words that are made of syllables, frequent ones often: something to be learned.
std::string made_up_prose(std::size_t words, unsigned seed) {
  static const char* const kSyllables[] = {"ka",  "lo",  "mi", "ren", "tos", "u",   "pra",
                                           "shi", "ber", "na", "gol", "est", "ing", "er"};
  std::mt19937 shape(7);
  std::vector<std::string> lexicon;
  for (int i = 0; i < 900; ++i) {
    lexicon.emplace_back();
    for (std::size_t s = 0; s < 1 + shape() % 4; ++s) lexicon.back() += kSyllables[shape() % std::size(kSyllables)];
  }
  std::mt19937 random(seed);
  std::string text;
  for (std::size_t i = 0; i < words; ++i) {
    const std::size_t rank = random() % 900;
    std::string word = lexicon[random() % (rank + 1)];
    if (random() % 9 == 0) word[0] = static_cast<char>(word[0] - 32);
    text += word;
    text += random() % 11 == 0 ? ".\n" : " ";
  }
  return text + "\n";
}

std::shared_ptr<const Tokenizer> train(const std::string& text, VocabularyTrainingOptions options,
                                       unsigned threads = 1) {
  VocabularyTrainer trainer(std::move(options));
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at) + 1;
    trainer.feed(std::string_view(text).substr(at, end - at));
    at = end;
  }
  return trainer.train(threads);
}

TEST(VocabularyTrainer, IsAsGoodAsHuggingFaceOnTextsNotSeen) {
  if (without_python()) GTEST_SKIP();
  const TemporaryDirectory folder("training");
  const std::string text = made_up_prose(30000, 1);
  const std::string held_out = made_up_prose(5000, 2);
  write_file_atomic(folder.path() / "train", text);
  write_file_atomic(folder.path() / "held_out", held_out);
  const auto unigram = train(text, {.kind = VocabularyKind::unigram, .vocab_size = 600, .byte_fallback = false});
  const auto piece = train(text, {.kind = VocabularyKind::wordpiece, .vocab_size = 600});
  unigram->save(folder.path() / "unigram");
  piece->save(folder.path() / "wordpiece");
  const Json result = run_reference("training_cases.py",
                                    {(folder.path() / "train").string(), (folder.path() / "held_out").string(), "600",
                                     (folder.path() / "unigram").string(), (folder.path() / "wordpiece").string()})[0];
  const Json& ours = result["ours"];
  EXPECT_GE(ours[0]["likelihood"].get<double>(), result["unigram"]["likelihood"].get<double>() * 1.01) << result.dump();
  EXPECT_LE(ours[0]["tokens"].get<double>(), result["unigram"]["tokens"].get<double>() * 1.01);
  EXPECT_LE(ours[1]["tokens"].get<double>(), result["wordpiece"]["tokens"].get<double>() * 1.001);
  // transformers reads what was saved as it was meant.
  for (const auto& [index, tokenizer] : {std::pair(0, unigram), std::pair(1, piece)}) {
    EXPECT_LE(ours[index]["size"].get<std::size_t>(), 600U);
    std::vector<TokenId> ids = tokenizer->encode(held_out, false);
    ids.resize(std::min<std::size_t>(ids.size(), 2000));
    EXPECT_EQ(ids, ours[index]["ids"].get<std::vector<TokenId>>());
  }
}

TEST(VocabularyTrainer, LearnsTheSameOnAnyNumberOfThreads) {
  const std::string text = made_up_prose(4000, 3);
  for (const VocabularyKind kind : {VocabularyKind::bpe, VocabularyKind::unigram, VocabularyKind::wordpiece}) {
    const auto one = train(text, {.kind = kind, .vocab_size = 500}, 1);
    EXPECT_EQ(train(text, {.kind = kind, .vocab_size = 500}, 3)->to_json(), one->to_json());
    // Counted apart and put together.
    const std::size_t half = text.find('\n', text.size() / 2) + 1;
    VocabularyTrainer first({.kind = kind, .vocab_size = 500});
    VocabularyTrainer second({.kind = kind, .vocab_size = 500});
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = text.find('\n', at) + 1;
      (at < half ? first : second).feed(std::string_view(text).substr(at, end - at));
      at = end;
    }
    second.add(first);
    EXPECT_EQ(second.train()->to_json(), one->to_json());
  }
}

TEST(VocabularyTrainer, SpellsUnknownCharactersAsBytes) {
  const auto tokenizer = train(made_up_prose(2000, 4), {.kind = VocabularyKind::unigram, .vocab_size = 450});
  const std::string text = "kalo \xE4\xB8\x96";
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
}

TEST(VocabularyTrainer, KeepsTheMostFrequentCharacters) {
  const auto tokenizer =
      train("aaaa aaab bbbz\nabab\n", {.kind = VocabularyKind::wordpiece, .vocab_size = 30, .limit_alphabet = 2});
  EXPECT_TRUE(tokenizer->token_to_id("##a"));
  EXPECT_FALSE(tokenizer->token_to_id("z"));
  EXPECT_FALSE(tokenizer->token_to_id("##z"));
}

TEST(VocabularyTrainer, RefusesVocabulariesThatCantHoldTheCharacters) {
  EXPECT_THROW(train("abcdefghij\n", {.kind = VocabularyKind::wordpiece, .vocab_size = 8}), Error);
  EXPECT_THROW(train("abcdefghij\n", {.kind = VocabularyKind::unigram, .vocab_size = 262}), Error);
  EXPECT_THROW(VocabularyTrainer({.kind = VocabularyKind::unigram, .vocab_size = 100}), Error);
  EXPECT_THROW(VocabularyTrainer({.kind = VocabularyKind::wordpiece, .special_tokens = {"[CLS]"}}), Error);
  EXPECT_THROW(train("\n", {.kind = VocabularyKind::wordpiece}), Error);
}

}  // namespace
}  // namespace mobula::text
