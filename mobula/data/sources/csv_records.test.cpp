#include "mobula/data/sources/csv_records.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "mobula/base/random.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sinks/scalar_text.hpp"

namespace mobula::data {
namespace {

using Rows = std::vector<std::vector<std::string>>;

Rows scan(const std::string& text, std::size_t num_columns = 0) {
  CsvRecords records;
  records.scan(text, num_columns, {});
  Rows rows;
  for (std::size_t row = 0; row < records.num_rows(); ++row) {
    rows.emplace_back();
    for (std::size_t column = 0; column < records.num_columns(); ++column)
      rows.back().push_back(records.field(row, column).value());
  }
  return rows;
}

TEST(CsvRecords, ReadsBackRandomFieldsWhateverTheyHold) {
  Random random(3);
  const std::string alphabet = "ab,\"\n\r\xC3\xA9 ";
  for (int round = 0; round < 300; ++round) {
    const std::size_t num_columns = 2 + random.below(4);
    Rows expected;
    std::string text;
    for (std::uint64_t row = 0; row < random.below(40); ++row) {
      expected.emplace_back();
      for (std::size_t column = 0; column < num_columns; ++column) {
        std::string field;
        for (std::uint64_t i = 0; i < random.below(30); ++i) field += alphabet[random.below(alphabet.size())];
        if (column > 0) text += ',';
        append_csv_string(field, ',', text);
        expected.back().push_back(field);
      }
      text += random.below(2) == 0 ? "\n" : "\r\n";
    }
    EXPECT_EQ(scan(text, num_columns), expected) << text;
    EXPECT_EQ(whole_csv_records(text + "\"open,\n", {}), text.size());
  }
}

TEST(CsvRecords, PassesOverBlankLinesUnlessThereIsOneColumn) {
  EXPECT_EQ(scan("a,b\n\n\r\nc,d\n"), (Rows{{"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(scan("a\n\nb\n"), (Rows{{"a"}, {""}, {"b"}}));
}

TEST(CsvRecords, ReadsALastLineWithoutANewline) {
  EXPECT_EQ(scan("a,b\nc,"), (Rows{{"a", "b"}, {"c", ""}}));
  EXPECT_EQ(scan("\"a\",\"b\"\nc,\"d\""), (Rows{{"a", "b"}, {"c", "d"}}));
}

TEST(CsvRecords, NamesTheRecordThatDoesNotFit) {
  for (const char* text : {"a,b\nc\n", "a,b\nc,d,e\n", "a,\"b\"\nc\n", "a,b\n\"c\n", "a,b\n\"c\"d,e\n"}) {
    try {
      scan(text);
      FAIL() << text;
    } catch (const RowError& error) {
      EXPECT_EQ(error.row, 1) << text;
    }
  }
}

}  // namespace
}  // namespace mobula::data
