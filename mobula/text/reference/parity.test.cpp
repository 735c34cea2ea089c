#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/text/reference/python_reference.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::text {
namespace {

std::string decode_base64(const std::string& text) {
  static const std::string kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  unsigned bits = 0;
  int held = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<unsigned>(kDigits.find(c));
    held += 6;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>(bits >> held & 0xFF);
    }
  }
  return out;
}

/// Compares with what Hugging Face's library gives, on tokenizers and texts drawn anew in every run.
class Parity : public testing::Test {
 protected:
  std::string where(const Json& example) const {
    return fmt::format("seed {}, tokenizer {}, special {}, text {}", seed_, example["tokenizer"].get<std::string>(),
                       example["special"].get<bool>(), example["text"].get<std::string>());
  }

  void compare(const Json& example, const Tokenizer& tokenizer) {
    const std::string text = decode_base64(example["text"].get<std::string>());
    const bool special = example["special"].get<bool>();
    if (example.contains("error")) {
      EXPECT_THROW(tokenizer.encode_full(text, std::nullopt, special), Error) << where(example) << example["error"];
      return;
    }
    const auto ids = example["ids"].get<std::vector<TokenId>>();
    ASSERT_EQ(tokenizer.encode(text, special), ids) << where(example);
    StreamEncoder parts(tokenizers_.at(example["tokenizer"].get<std::string>()), special, 4);
    std::vector<TokenId> streamed;
    for (std::size_t at = 0; at < text.size(); at += 50) parts.push(std::string_view(text).substr(at, 50), streamed);
    parts.finish(streamed);
    ASSERT_EQ(streamed, ids) << where(example);
    const Encoding full = tokenizer.encode_full(text, std::nullopt, special);
    ASSERT_EQ(full.ids, ids) << where(example);
    EXPECT_EQ(full.type_ids, example["type_ids"].get<std::vector<std::uint32_t>>()) << where(example);
    EXPECT_EQ(full.special_mask, example["special_mask"].get<std::vector<std::uint8_t>>()) << where(example);
    EXPECT_EQ(full.attention_mask, example["attention_mask"].get<std::vector<std::uint8_t>>()) << where(example);
    if (example["has_offsets"].get<bool>()) {
      EXPECT_EQ(full.offsets, (example["offsets"].get<std::vector<std::pair<std::size_t, std::size_t>>>()))
          << where(example);
    }
    const auto decode = example["decode"].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer.decode(decode), example["decoded"].get<std::string>()) << where(example);
    EXPECT_EQ(tokenizer.decode(decode, false), example["decoded_special"].get<std::string>()) << where(example);
    if (example["streams"].get<bool>()) {
      StreamDecoder stream(tokenizers_.at(example["tokenizer"].get<std::string>()));
      std::string text_so_far;
      for (const TokenId id : decode) text_so_far += stream.push(id);
      EXPECT_EQ(text_so_far + stream.finish(), example["decoded"].get<std::string>()) << where(example);
    }
    if (!example.contains("pair")) return;
    const Json& pair = example["pair"];
    const std::string second = pair["text"].get<std::string>();
    if (pair.contains("error")) {
      EXPECT_THROW(tokenizer.encode_full(text, second, special), Error) << where(example) << pair["error"];
      return;
    }
    const Encoding both = tokenizer.encode_full(text, second, special);
    EXPECT_EQ(both.ids, pair["ids"].get<std::vector<TokenId>>()) << where(example);
    EXPECT_EQ(both.type_ids, pair["type_ids"].get<std::vector<std::uint32_t>>()) << where(example);
    EXPECT_EQ(both.special_mask, pair["special_mask"].get<std::vector<std::uint8_t>>()) << where(example);
  }

  std::uint64_t seed_ = 0;
  std::map<std::string, std::shared_ptr<const Tokenizer>> tokenizers_;
};

TEST_F(Parity, GivesTheIdsOfHuggingFaceOnDrawnTexts) {
  if (without_python()) GTEST_SKIP();
  seed_ = drawn_seed();
  const char* count = std::getenv("MOBULA_TEST_TEXTS");
  const TemporaryDirectory folder("parity");
  std::set<std::string> failed;
  int num_failures = 0;
  for (const Json& example : run_reference(
           "tokenizer_cases.py", {std::to_string(seed_), folder.path().string(), count != nullptr ? count : "40"})) {
    const std::string name = example["tokenizer"].get<std::string>();
    if (failed.contains(name)) continue;  // one failure of a kind tells enough
    try {
      auto& tokenizer = tokenizers_[name];
      if (tokenizer == nullptr) tokenizer = Tokenizer::load(folder.path() / (name + ".json"));
      compare(example, *tokenizer);
    } catch (const Error& error) {
      ADD_FAILURE() << where(example) << "\n" << error.message();
    }
    const auto* result = testing::UnitTest::GetInstance()->current_test_info()->result();
    if (result->total_part_count() > num_failures) failed.insert(name);
    num_failures = result->total_part_count();
  }
}

}  // namespace
}  // namespace mobula::text
