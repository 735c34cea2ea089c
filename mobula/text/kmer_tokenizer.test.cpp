#include "mobula/text/kmer_tokenizer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "mobula/base/error.hpp"

namespace mobula::text {
namespace {

TEST(KmerTokenizer, CutsFromTheLeftAndKeepsWhatIsLeftOver) {
  const auto tokenizer = make_kmer_tokenizer("ACGT", 3);
  EXPECT_EQ(tokenizer->vocab_size(), 2U + 4 + 64);
  // A C G T are 2 to 5; AAA is 6, and k-mers count up with their last letter.
  EXPECT_EQ(tokenizer->encode("AAAAACTTTG\nA"), (std::vector<TokenId>{6, 7, 69, 4, 1, 2}));
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{6, 7, 69, 4, 1, 2}), "AAAAACTTTG\nA");
}

TEST(KmerTokenizer, ReadsOtherLettersAsUnknown) {
  const auto tokenizer = make_kmer_tokenizer("ACGT", 3);
  EXPECT_EQ(tokenizer->encode("ACNGTA"), (std::vector<TokenId>{2, 3, 0, 6 + 2 * 16 + 3 * 4}));
}

TEST(KmerTokenizer, TakesAnyLetters) {
  const auto events = make_kmer_tokenizer("-]^\\\xC3\xA9", 2);
  const std::string text = "-]\\^\xC3\xA9\xC3\xA9]";
  const std::vector<TokenId> ids = events->encode(text);
  EXPECT_EQ(ids.size(), 4U);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 0), 0);
  EXPECT_EQ(events->decode(ids), text);
  EXPECT_EQ(make_kmer_tokenizer("AC", 1)->vocab_size(), 4U);
}

TEST(KmerTokenizer, MakesHundredsOfThousandsOfWords) {
  // Minutes, where looking a word up took as long as the vocabulary.
  const auto tokenizer = make_kmer_tokenizer("ACGT", 9);
  EXPECT_EQ(tokenizer->vocab_size(), 2U + 4U + 262144U);
  EXPECT_EQ(tokenizer->encode("AAAAAAAACTTTTTTTTT"), (std::vector<TokenId>{6 + 1, 6 + 262143}));
}

TEST(KmerTokenizer, RefusesWhatMakesNoVocabulary) {
  EXPECT_THROW(make_kmer_tokenizer("", 3), Error);
  EXPECT_THROW(make_kmer_tokenizer("ACGA", 3), Error);
  EXPECT_THROW(make_kmer_tokenizer("ACGT", 0), Error);
  EXPECT_THROW(make_kmer_tokenizer("ACGT", 30), Error);
  EXPECT_THROW(make_kmer_tokenizer("A\n", 2), Error);
}

}  // namespace
}  // namespace mobula::text
