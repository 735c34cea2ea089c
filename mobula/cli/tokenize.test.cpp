#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {
namespace {

/// Runs build/bin/mobula tokenize with the byte tokenizer.
class TokenizeCommandTest : public testing::Test {
 protected:
  void SetUp() override { text::make_byte_tokenizer()->save(directory_.path()); }

  std::string output(const std::string& input, std::vector<std::string> arguments, int expected_exit = 0) {
    const std::string file = (directory_.path() / "input").string();
    write_file_atomic(file, input);
    arguments.insert(arguments.begin(),
                     {MOBULA_PROGRAM, "tokenize", "--tokenizer", directory_.path().string(), "--input", file});
    Subprocess program(arguments, {.capture_stdout = true, .discard_stderr = expected_exit != 0});
    std::string text;
    while (const auto line = program.read_line()) text += *line + "\n";
    EXPECT_EQ(program.wait(), expected_exit) << text;
    return text;
  }

  TemporaryDirectory directory_;
};

TEST_F(TokenizeCommandTest, PrintsAnArrayALineAndNoEmptyLastLine) {
  EXPECT_EQ(output("ab\n\n\xFFz\r\n", {"--json"}), "[97,98]\n[]\n[239,191,189,122,13]\n");
  EXPECT_EQ(output("ab", {"--json"}), "[97,98]\n");
  EXPECT_EQ(output("", {"--json"}), "");
}

TEST_F(TokenizeCommandTest, KeepsTheOrderOfLinesWithSeveralThreads) {
  std::string input;
  std::string expected;
  for (int i = 0; i < 60000; ++i) {
    const std::string number = std::to_string(i);
    input += number + "\n";
    expected += '[';
    for (std::size_t c = 0; c < number.size(); ++c) {
      if (c > 0) expected += ',';
      expected += std::to_string(number[c]);
    }
    expected += "]\n";
  }
  EXPECT_EQ(output(input, {"--json", "--threads", "4"}), expected);
}

TEST_F(TokenizeCommandTest, DecodesWhatItPrinted) {
  EXPECT_EQ(output("[97, 98]\n[]\n[10,34]\n", {"--decode"}), "\"ab\"\n\"\"\n\"\\n\\\"\"\n");
}

TEST_F(TokenizeCommandTest, RefusesWhatIsNoArrayOfIds) {
  output("[97]\n[97,]\n", {"--decode"}, 2);
  output("[300]\n", {"--decode"}, 2);
  output("[1 2", {"--decode"}, 2);
}

}  // namespace
}  // namespace mobula::cli
