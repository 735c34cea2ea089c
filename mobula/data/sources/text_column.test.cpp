#include "mobula/data/sources/text_column.hpp"

#include <gtest/gtest.h>

#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"

namespace mobula::data {
namespace {

class TextColumnTest : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, std::string_view content) {
    write_file_atomic(folder_.path() / name, content);
    return folder_.path() / name;
  }
  std::string message_of(const std::filesystem::path& file, const TextColumnOptions& options = {}) {
    return mobula::refusal_with_hint([&] { read_text_column(file, options); });
  }
  TemporaryDirectory folder_;
};

TEST_F(TextColumnTest, KeepsATextFileAsOneTextToTheByte) {
  const auto texts = read_text_column(write("a.txt", "one\r\n\ntwo"));
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_EQ(texts[0], "one\r\n\ntwo");
  EXPECT_EQ(read_text_column(write("empty.txt", "")).size(), 0u);
}

TEST_F(TextColumnTest, ReadsACsvColumnWithQuotesNewlinesAndNulls) {
  const auto texts = read_text_column(write("a.csv", "id,text\n1,plain\n2,\"a, \"\"b\"\"\nc\"\n3,\n4,\"\"\r\n"));
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_EQ(texts[0], "plain");
  EXPECT_EQ(texts[1], "a, \"b\"\nc");
  EXPECT_EQ(texts[2], "");
}

TEST_F(TextColumnTest, NamesTheRaggedRowOfACsv) {
  const auto message = message_of(write("a.csv", "id,text\n1,a\n2,b,c\n"));
  EXPECT_NE(message.find("a.csv: row 2: 3 fields where 2 are expected"), std::string::npos) << message;
}

TEST_F(TextColumnTest, NamesTheNearestColumn) {
  EXPECT_NE(message_of(write("a.csv", "id,test\n1,a\n")).find("did you mean 'test'?"), std::string::npos);
  EXPECT_NE(message_of(write("a.jsonl", "{\"texts\":\"a\"}\n")).find("did you mean 'texts'?"), std::string::npos);
}

TEST_F(TextColumnTest, ReadsJsonlEscapesAndPassesOverNullsAndBlankLines) {
  const auto texts =
      read_text_column(write("a.jsonl", "{\"text\":\"a\\n\\u00e9\"}\n\n{\"text\":null}\n{\"n\":1,\"text\":\"\"}"));
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(texts[0], "a\n\xC3\xA9");
  EXPECT_EQ(texts[1], "");
}

TEST_F(TextColumnTest, NamesTheRowThatIsNoJson) {
  EXPECT_NE(message_of(write("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\n")).find("row 2: not valid JSON"),
            std::string::npos);
  EXPECT_NE(message_of(write("b.jsonl", "{\"text\":7}\n")).find("row 1: 'text' is not a string"), std::string::npos);
}

TEST_F(TextColumnTest, RefusesInvalidUtf8ByRow) {
  EXPECT_NE(message_of(write("a.csv", "text\nok\n\xFF\n")).find("row 2: column 'text' is not valid UTF-8"),
            std::string::npos);
}

TEST_F(TextColumnTest, RefusesUnknownFormatsAndMissingFiles) {
  EXPECT_NE(message_of(write("a.txt", "x"), {.format = "jsnl"}).find("did you mean 'jsonl'?"), std::string::npos);
  EXPECT_NE(message_of(folder_.path() / "none.csv").find("no such file"), std::string::npos);
}

}  // namespace
}  // namespace mobula::data
