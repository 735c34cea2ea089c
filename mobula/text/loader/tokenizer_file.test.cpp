#include <gtest/gtest.h>

#include "mobula/base/error.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/text/bpe_file.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::text {
namespace {

std::string refusal(std::string_view json) {
  return mobula::refusal([&] { Tokenizer::parse(json, "bad.json"); });
}

TEST(TokenizerFile, NamesFileAndKeyOfWhatIsWrong) {
  EXPECT_NE(refusal("").find("bad.json: not valid JSON"), std::string::npos);
  EXPECT_NE(refusal("{\"model\": ").find("bad.json: not valid JSON"), std::string::npos);
  EXPECT_EQ(refusal("[]"), "bad.json: expected a JSON object");
  EXPECT_EQ(refusal("{}"), "bad.json: 'model' is missing");
  EXPECT_EQ(refusal(R"({"model": {"type": "BPE", "merges": []}})"), "bad.json: model: 'vocab' is missing");
  EXPECT_EQ(refusal(R"({"model": {"type": "Fancy", "vocab": {}}})"),
            "bad.json: model: model type 'Fancy' is not known");
  EXPECT_EQ(refusal(R"({"model": {"type": "WordLevel", "vocab": {"a": -1}}})"),
            "bad.json: model.vocab: id of 'a': expected an integer from 0 to 67108864");
  EXPECT_EQ(refusal(R"({"model": {"type": "WordLevel", "vocab": {"a": 4000000000}}})"),
            "bad.json: model.vocab: id of 'a': expected an integer from 0 to 67108864");
  EXPECT_EQ(refusal(R"({"model": {"type": "Unigram", "vocab": [["a", "b"]]}})"),
            "bad.json: model.vocab[0]: expected a token and its score");
  EXPECT_EQ(refusal(R"({"model": {"type": "Unigram", "vocab": [["a", -1.5]], "unk_id": 7}})"),
            "bad.json: model.unk_id: is outside the vocabulary of 1 tokens");
  EXPECT_EQ(
      refusal(
          R"({"model": {"type": "WordLevel", "vocab": {}}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "X"}]}})"),
      "bad.json: pre_tokenizer.pretokenizers[0]: pre-tokenizer type 'X' is not known");
}

TEST(TokenizerFile, RefusesMergesOfUnknownTokens) {
  EXPECT_EQ(refusal(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}})"),
            "bad.json: model.merges[0]: 'ab' is not in model.vocab");
  EXPECT_EQ(refusal(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}})"),
            "bad.json: model.merges[0]: expected a pair of tokens");
}

TEST(TokenizerFile, RefusesDropoutAndBadPatterns) {
  EXPECT_NE(refusal(R"({"model": {"type": "BPE", "dropout": 0.1, "vocab": {}, "merges": []}})").find("dropout"),
            std::string::npos);
  EXPECT_NE(
      refusal(
          R"({"model": {"type": "WordLevel", "vocab": {}}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated", "invert": false}})")
          .find("bad.json: pre_tokenizer.pattern.Regex: '(a'"),
      std::string::npos);
}

TEST(TokenizerFile, RefusesDeepNesting) {
  std::string deep = R"({"model": {"type": "WordLevel", "vocab": {}}, "normalizer": )";
  for (int i = 0; i < 5000; ++i) deep += R"({"type": "Sequence", "normalizers": [)";
  EXPECT_NE(refusal(deep).find("bad.json"), std::string::npos);
}

TEST(TokenizerFile, RefusesADamagedCharacterMap) {
  EXPECT_NE(
      refusal(
          R"({"model": {"type": "WordLevel", "vocab": {}}, "normalizer": {"type": "Precompiled", "precompiled_charsmap": "////fwAA"}})")
          .find("precompiled_charsmap: the map's array is cut off"),
      std::string::npos);
}

TEST(TokenizerFile, SurvivesEveryTruncationOfAFile) {
  BpeFile file;
  file.tokens = {"<unk>", "a", "b", "ab"};
  file.merges = {{"a", "b"}};
  file.special_tokens = {"<unk>"};
  file.byte_level = false;
  const std::string json = file.to_json();
  EXPECT_EQ(refusal(json), "accepted");
  for (std::size_t size = 0; size + 2 < json.size(); ++size)
    EXPECT_NE(refusal(json.substr(0, size)), "accepted") << size;
}

}  // namespace
}  // namespace mobula::text
