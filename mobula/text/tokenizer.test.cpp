#include "mobula/text/tokenizer.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/text/bpe_trainer.hpp"

namespace mobula::text {
namespace {

using Ids = std::vector<TokenId>;

TEST(ByteTokenizer, GivesEveryByteItsOwnNumber) {
  const auto tokenizer = make_byte_tokenizer();
  EXPECT_EQ(tokenizer->vocab_size(), 256U);
  EXPECT_EQ(tokenizer->encode("A \xC3\xA9\n"), (Ids{65, 32, 0xC3, 0xA9, 10}));
  EXPECT_EQ(tokenizer->decode(Ids{0xC3, 0xA9, 33}), "\xC3\xA9!");
}

TEST(ByteTokenizer, ReadsInvalidUtf8AsReplacementCharacters) {
  const auto tokenizer = make_byte_tokenizer();
  // A lead byte with one of its two continuations is one maximal subpart; a stray continuation is another.
  EXPECT_EQ(tokenizer->encode("a\xE2\x82z\x80"), (Ids{'a', 0xEF, 0xBF, 0xBD, 'z', 0xEF, 0xBF, 0xBD}));
  EXPECT_EQ(tokenizer->decode(Ids{0xE2, 0x82, 'z'}), "\xEF\xBF\xBDz");
}

TEST(CharacterTokenizer, SortsCharactersBehindTheUnknownToken) {
  const auto tokenizer = make_character_tokenizer(
      "b\xC3\xA9"
      "a\nb");
  EXPECT_EQ(tokenizer->vocab_size(), 5U);
  EXPECT_EQ(tokenizer->encode("ab\xC3\xA9\nx"), (Ids{2, 3, 4, 1, 0}));
  EXPECT_EQ(tokenizer->decode(Ids{2, 3, 4, 1}), "ab\xC3\xA9\n");
  EXPECT_TRUE(tokenizer->is_special(0));
}

TEST(CharacterTokenizer, RefusesEmptyText) {
  EXPECT_THROW(make_character_tokenizer(""), Error);
}

TEST(Tokenizer, NamesAnIdOutsideTheVocabulary) {
  const auto tokenizer = make_byte_tokenizer();
  try {
    tokenizer->decode(Ids{1, 256});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(error.message().find("256"), std::string::npos);
  }
}

TEST(Tokenizer, TellsWhereEachTokenCameFrom) {
  const auto tokenizer = make_byte_tokenizer();
  const Encoding encoding = tokenizer->encode_full("a\xC3\xA9\xFF!");
  // Both bytes of the e with acute stand for the whole character, and the invalid byte for its replacement.
  const std::vector<std::pair<std::size_t, std::size_t>> expected = {{0, 1}, {1, 3}, {1, 3}, {3, 4},
                                                                     {3, 4}, {3, 4}, {4, 5}};
  EXPECT_EQ(encoding.offsets, expected);
}

TEST(StreamDecoder, GivesIdsBeyondTheVocabularyNoText) {
  const auto tokenizer = make_byte_tokenizer();
  StreamDecoder decoder(tokenizer);
  const std::vector<TokenId> ids = tokenizer->encode("ab");
  std::string text = decoder.push(ids[0]);
  text += decoder.push(static_cast<TokenId>(tokenizer->vocab_size()) + 7);
  for (std::size_t i = 1; i < ids.size(); ++i) text += decoder.push(ids[i]);
  EXPECT_EQ(text + decoder.finish(), "ab");
  EXPECT_THROW(decoder.push(-1), Error);
}

TEST(StreamDecoder, GivesWholeCharactersWhereBytesSpoilThoseBeforeThem) {
  const auto tokenizer = Tokenizer::parse(
      R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,
          "decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"}]},
          "model":{"type":"BPE","byte_fallback":true,"vocab":{"<0x41>":0,"<0xE4>":1,"b":2},"merges":[]}})",
      "t");
  const std::vector<TokenId> ids = {0, 0, 1, 2};
  EXPECT_EQ(tokenizer->decode(ids), "\uFFFD\uFFFD\uFFFDb");
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const TokenId id : ids) text += decoder.push(id);
  text += decoder.finish();
  EXPECT_EQ(text, "AA\uFFFDb");
}

TEST(StreamDecoder, HoldsBackIncompleteCharacters) {
  StreamDecoder decoder(make_byte_tokenizer());
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_EQ(decoder.push(0xE2), "");
  EXPECT_EQ(decoder.push(0x82), "");
  EXPECT_EQ(decoder.push(0xAC), "\xE2\x82\xAC");
  EXPECT_EQ(decoder.push(0xE2), "");
  EXPECT_EQ(decoder.finish(), "\xEF\xBF\xBD");
}

TEST(Tokenizer, LoadsWhatItSaved) {
  const TemporaryDirectory folder("tokenizer");
  const std::string text = "the cat sat on the mat, the cat's hat.\n";
  const auto tokenizer = train_bpe(text, {.vocab_size = 280});
  tokenizer->save(folder.path(), "{{ messages }}");
  const auto loaded = Tokenizer::load(folder.path());
  EXPECT_EQ(loaded->encode(text), tokenizer->encode(text));
  EXPECT_EQ(loaded->encode("<|endoftext|>the"), (Ids{0, *loaded->token_to_id("the")}));
  EXPECT_NE(read_file(folder.path() / "tokenizer_config.json").find("{{ messages }}"), std::string::npos);
}

TEST(Tokenizer, LeavesTextsAsLongAsTheyComeWhereAsked) {
  const TemporaryDirectory folder("tokenizer");
  const std::filesystem::path file = folder.path() / "tokenizer.json";
  write_file_atomic(file,
                    R"({"model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2}, "unk_token": "[UNK]"},
                              "pre_tokenizer": {"type": "Whitespace"},
                              "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
                              "padding": {"strategy": {"Fixed": 4}, "direction": "Right", "pad_id": 0, "pad_type_id": 0,
                                          "pad_token": "[UNK]"}})");
  EXPECT_EQ(Tokenizer::load(file)->encode("a b a b a"), (Ids{1, 2, 1, 0}));
  EXPECT_EQ(Tokenizer::load(file, Lengths::as_they_come)->encode("a b a b a"), (Ids{1, 2, 1, 2, 1}));
  EXPECT_EQ(Tokenizer::load(file, Lengths::as_they_come)->encode("a"), (Ids{1}));
}

TEST(Tokenizer, GivesTheBytesOfATokenBehindOtherText) {
  EXPECT_EQ(make_byte_tokenizer()->token_bytes(0xC3), "\xC3");
  EXPECT_THROW(make_byte_tokenizer()->token_bytes(256), Error);
  const auto pieces = Tokenizer::parse(
      R"({"model": {"type": "BPE", "vocab": {"<unk>": 0, "<0xE2>": 1, "\u2581a": 2}, "merges": [], "unk_token": "<unk>",
                    "byte_fallback": true},
          "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})",
      "pieces");
  EXPECT_EQ(pieces->decode(Ids{2}), "a");
  EXPECT_EQ(pieces->token_bytes(2), " a");
  EXPECT_EQ(pieces->token_bytes(1), "\xE2");
}

TEST(Tokenizer, SaysThatAFolderHasNoTokenizer) {
  const TemporaryDirectory folder("tokenizer");
  EXPECT_THROW(Tokenizer::load(folder.path()), Error);
}

}  // namespace
}  // namespace mobula::text
