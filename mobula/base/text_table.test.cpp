#include "mobula/base/text_table.hpp"

#include <gtest/gtest.h>

namespace mobula {
namespace {

using Align = TextTable::Align;

TEST(TextTable, AlignsColumnsWithoutTrailingSpaces) {
  TextTable table({"NAME", "LOSS", "NOTE"}, {Align::left, Align::right});
  table.add_row({"a", "1.5", "x"});
  table.add_row({"longer", "12.25", ""});
  EXPECT_EQ(table.to_string(),
            "NAME     LOSS  NOTE\n"
            "a         1.5  x\n"
            "longer  12.25\n");
}

TEST(TextTable, CountsCharactersInsteadOfBytes) {
  TextTable table({"A", "B"});
  table.add_row({"\xc3\xa4\xc3\xb6", "x"});
  table.add_row({"ab", "y"});
  EXPECT_EQ(table.to_string(), "A   B\n\xc3\xa4\xc3\xb6  x\nab  y\n");
}

TEST(TextTable, KeepsControlCharactersAwayFromTheTerminal) {
  TextTable table({"A", "B"});
  table.add_row({"a\nb\x1b[31m"});
  EXPECT_EQ(table.to_string(), "A         B\na b [31m\n");
}

}  // namespace
}  // namespace mobula
