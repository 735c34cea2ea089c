#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/text/base64.hpp"
#include "mobula/text/reference/python_reference.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::text {
namespace {

using Ids = std::vector<TokenId>;

std::shared_ptr<const Tokenizer> load(const std::filesystem::path& path, const Json& example) {
  if (!example.contains("pattern")) return Tokenizer::load(path);
  TiktokenOptions options{example["pattern"].get<std::string>(), {}};
  for (const auto& [token, id] : example["special"].items())
    options.special_tokens.emplace_back(token, id.get<TokenId>());
  return load_tiktoken(path, options);
}

// Compares with the sentencepiece and tiktoken packages on models and texts drawn anew in every run.
TEST(OtherFiles, GiveTheIdsOfTheirOwnLibraries) {
  if (without_python()) GTEST_SKIP();
  const std::uint64_t seed = drawn_seed();
  const char* count = std::getenv("MOBULA_TEST_TEXTS");
  const TemporaryDirectory folder("other_files");
  std::map<std::string, std::shared_ptr<const Tokenizer>> tokenizers;
  std::set<std::string> failed;
  for (const Json& example : run_reference(
           "other_files_cases.py", {std::to_string(seed), folder.path().string(), count != nullptr ? count : "60"})) {
    const auto file = example["file"].get<std::string>();
    if (failed.contains(file)) continue;
    const std::string text = *decode_base64(example["text"].get<std::string>());
    const std::string where = fmt::format("seed {}, {}, text {}", seed, file, example["text"].get<std::string>());
    auto& tokenizer = tokenizers[file];
    if (tokenizer == nullptr) tokenizer = load(folder.path() / file, example);
    const Ids ids = tokenizer->encode(text);
    EXPECT_EQ(ids, example["ids"].get<Ids>()) << where;
    EXPECT_EQ(tokenizer->encode_full(text).ids, ids) << where;
    StreamEncoder parts(tokenizer, true, 4);
    Ids streamed;
    for (std::size_t at = 0; at < text.size(); at += 50) parts.push(std::string_view(text).substr(at, 50), streamed);
    parts.finish(streamed);
    EXPECT_EQ(streamed, ids) << where;
    const Ids decode = example["decode"].get<Ids>();
    const std::string decoded = tokenizer->decode(decode, false);
    EXPECT_EQ(decoded, example["decoded"].get<std::string>()) << where << " decoding " << example["decode"].dump();
    if (ids != example["ids"].get<Ids>() || decoded != example["decoded"].get<std::string>() || streamed != ids)
      failed.insert(file);
  }
  EXPECT_EQ(tokenizers.size(), 16U);
}

TEST(OtherFiles, AreReadAgainOnceConverted) {
  if (without_python()) GTEST_SKIP();
  const TemporaryDirectory folder("other_files");
  std::set<std::string> seen;
  for (const Json& example : run_reference("other_files_cases.py", {"7", folder.path().string(), "1"})) {
    const auto file = example["file"].get<std::string>();
    if (!seen.insert(file).second) continue;
    // What tokenizer.json has no step for.
    if (file.find("symbols") != std::string::npos || file.find("across") != std::string::npos) continue;
    if (file.find("suffix") != std::string::npos) {
      EXPECT_THROW(load(folder.path() / file, example)->to_json(), Error);
      continue;
    }
    const auto tokenizer = load(folder.path() / file, example);
    tokenizer->save(folder.path() / "converted");
    const auto converted = Tokenizer::load(folder.path() / "converted");
    EXPECT_EQ(converted->vocab_size(), tokenizer->vocab_size());
    for (const char* text : {"the quick brown fox jumps", "lazy dogs and other foxes"}) {
      EXPECT_EQ(converted->encode(text), tokenizer->encode(text)) << file;
      EXPECT_EQ(converted->decode(converted->encode(text)), tokenizer->decode(tokenizer->encode(text))) << file;
    }
  }
}

TEST(TiktokenFile, NamesTheLineThatIsNoToken) {
  const TemporaryDirectory folder("tiktoken");
  write_file_atomic(folder.path() / "cl100k_base.tiktoken", "IQ== 0\nIg== 1\nIw=! 2\n");
  try {
    Tokenizer::load(folder.path() / "cl100k_base.tiktoken");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    EXPECT_NE(error.message().find("line 3"), std::string::npos) << error.message();
  }
}

TEST(TiktokenFile, AsksForThePattern) {
  const TemporaryDirectory folder("tiktoken");
  write_file_atomic(folder.path() / "mine.tiktoken", "IQ== 0\n");
  try {
    Tokenizer::load(folder.path() / "mine.tiktoken");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.hint().find("--pattern"), std::string::npos);
  }
}

TEST(SentencePieceFile, RefusesWhatIsCutOff) {
  const std::string piece("\n\x0E\n\x05<unk>\x15\0\0\0\0\x18\x02", 16);
  EXPECT_NO_THROW(Tokenizer::parse(piece, "m"));
  for (std::size_t size = 2; size < piece.size(); ++size) {
    EXPECT_THROW(Tokenizer::parse(piece.substr(0, size), "m"), Error) << size;
  }
  EXPECT_THROW(Tokenizer::parse(piece + piece, "m"), Error);  // twice the same piece
}

}  // namespace
}  // namespace mobula::text
