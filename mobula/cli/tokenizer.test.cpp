#include <fmt/format.h>
#include <gtest/gtest.h>

#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {
namespace {

/// Runs build/bin/mobula tokenizer in a folder of its own.
class TokenizerCommandTest : public testing::Test {
 protected:
  std::string run(std::vector<std::string> arguments, int expected_exit = 0) {
    arguments.insert(arguments.begin(), {MOBULA_PROGRAM, "tokenizer"});
    Subprocess program(arguments, {.capture_stdout = true, .discard_stderr = true});
    std::string text;
    while (const auto line = program.read_line()) text += *line + "\n";
    EXPECT_EQ(program.wait(), expected_exit) << text;
    return text;
  }
  std::string path(const char* name) const { return (directory_.path() / name).string(); }
  void write_corpus() {
    std::string text;
    for (int i = 0; i < 500; ++i) text += fmt::format("the quick brown fox number {} jumps over lazy dogs\n", i % 37);
    write_file_atomic(path("corpus.txt"), text);
  }

  TemporaryDirectory directory_;
};

TEST_F(TokenizerCommandTest, TrainsEveryKindOnFiles) {
  write_corpus();
  for (const char* kind : {"bpe", "unigram", "wordpiece"}) {
    const Json result = parse_json(run({"train", "--kind", kind, "--vocab-size", "330", "--input", path("corpus.txt"),
                                        "--out", path(kind), "--json"}),
                                   "result");
    EXPECT_EQ(result["kind"], kind);
    const auto tokenizer = text::Tokenizer::load(path(kind));
    EXPECT_EQ(result["vocab_size"], tokenizer->vocab_size());
    EXPECT_LE(tokenizer->vocab_size(), 330U);
    EXPECT_LE(tokenizer->encode("the quick brown fox", false).size(), 9U) << kind;
    const Json info = parse_json(run({"info", path(kind), "--json"}), "info");
    EXPECT_EQ(info["vocab_size"], result["vocab_size"]);
    EXPECT_FALSE(info["special_tokens"].empty());
  }
}

TEST_F(TokenizerCommandTest, PrintsWhatATemplateMakesOfAConversation) {
  std::filesystem::create_directory(path("model"));
  write_file_atomic(
      path("model/chat_template.jinja"),
      "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
      "{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}");
  write_file_atomic(path("chat.json"), R"([{"role":"user","content":"né"}])");
  write_file_atomic(path("tools.json"), R"([{"b":1,"a":[2]}])");
  EXPECT_EQ(run({"chat", path("model"), "--messages", path("chat.json")}), "<user>né<bot>\n");
  EXPECT_EQ(run({"chat", path("model"), "--messages", path("chat.json"), "--tools", path("tools.json"),
                 "--no-generation-prompt", "--json"}),
            R"({"text":"{\"b\": 1, \"a\": [2]}<user>né"})"
            "\n");
  write_file_atomic(path("chat.json"), R"({"messages":[{"role":"user","content":"x"}],"documents":["d"]})");
  run({"chat", path("model"), "--messages", path("chat.json")}, 1);
  run({"chat", path("nothing"), "--messages", path("chat.json")}, 1);
}

TEST_F(TokenizerCommandTest, ReadsAFieldOfJsonLines) {
  write_file_atomic(path("rows.jsonl"), "{\"body\": \"aba aba aba\", \"n\": 1}\n{\"body\": \"aba\"}\n");
  run({"train", "--input", path("rows.jsonl"), "--field", "body", "--vocab-size", "260", "--out", path("t")});
  EXPECT_TRUE(text::Tokenizer::load(path("t"))->token_to_id("aba"));
  run({"train", "--input", path("rows.jsonl"), "--vocab-size", "260", "--out", path("u")}, 1);
  EXPECT_FALSE(std::filesystem::exists(path("u")));
}

TEST_F(TokenizerCommandTest, RefusesAFolderThatHoldsATokenizer) {
  write_corpus();
  run({"train", "--vocab-size", "300", "--input", path("corpus.txt"), "--out", path("t")});
  run({"train", "--vocab-size", "300", "--input", path("corpus.txt"), "--out", path("t")}, 1);
  run({"train", "--vocab-size", "100", "--input", path("corpus.txt"), "--out", path("v")}, 2);
}

TEST_F(TokenizerCommandTest, ConvertsTiktokenFiles) {
  std::string ranks;
  for (int byte = 0; byte < 256; ++byte) {
    static const char* const kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    ranks += fmt::format("{}{}== {}\n", kDigits[byte >> 2], kDigits[(byte & 3) << 4], byte);
  }
  write_file_atomic(path("bytes.tiktoken"), ranks + "YWI= 256\n");
  run({"convert", path("bytes.tiktoken"), "--out", path("c")}, 2);
  run({"convert", path("bytes.tiktoken"), "--pattern", "cl100k", "--out", path("c")});
  EXPECT_EQ(text::Tokenizer::load(path("c"))->encode("abc"), (std::vector<text::TokenId>{256, 'c'}));
}

}  // namespace
}  // namespace mobula::cli
