#include "mobula/data/rows/map_column.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"

namespace mobula::data {
namespace {

struct Word {
  std::optional<std::string> word;
  std::optional<std::int64_t> length;
};

TEST(MapColumn, SetsAColumnToAFunctionOfAnother) {
  const auto words =
      Dataset::range(3).with({{"word", "if(id == 1, null, cast(id * 1000, 'string'))"}}).select({"word"});
  const auto lengths = map_column<std::string>(
      words, "word", "length", [](const std::string& word) { return static_cast<std::int64_t>(word.size()); });
  std::vector<std::optional<std::int64_t>> found;
  for (const auto& batch : lengths.collect()) {
    for (const Word& row : rows_of<Word>(batch)) found.push_back(row.length);
  }
  EXPECT_EQ(found, (std::vector<std::optional<std::int64_t>>{1, std::nullopt, 4}));
  EXPECT_THROW(map_column<std::string>(words, "wrd", "length", [](const std::string& w) { return w; }).count(), Error);
}

}  // namespace
}  // namespace mobula::data
