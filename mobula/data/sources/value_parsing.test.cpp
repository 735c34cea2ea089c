#include "mobula/data/sources/value_parsing.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "mobula/base/random.hpp"

namespace mobula::data {
namespace {

TEST(ValueParsing, AgreesWithTheStandardLibraryOnRandomDecimals) {
  Random random(7);
  for (int i = 0; i < 200000; ++i) {
    std::string text(random.below(2), '-');
    const auto digits = random.below(1 + random.below(19));
    for (std::uint64_t d = 0; d <= digits; ++d) text += static_cast<char>('0' + random.below(10));
    if (random.below(3) != 0) text.insert(text.size() - random.below(digits + 1), 1, '.');
    if (random.below(4) == 0) text += fmt::format("e{}", static_cast<int>(random.below(60)) - 30);
    double expected = 0;
    double value = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), expected);
    ASSERT_EQ(parsed.ec, std::errc{}) << text;
    ASSERT_TRUE(parse_float64(text, value)) << text;
    ASSERT_EQ(std::memcmp(&value, &expected, 8), 0) << text;
  }
}

TEST(ValueParsing, KeepsTheEdgesOfSixtyFourBits) {
  std::int64_t value = 0;
  EXPECT_TRUE(parse_int64("9223372036854775807", value));
  EXPECT_EQ(value, std::numeric_limits<std::int64_t>::max());
  EXPECT_TRUE(parse_int64("-9223372036854775808", value));
  EXPECT_EQ(value, std::numeric_limits<std::int64_t>::min());
  EXPECT_FALSE(parse_int64("9223372036854775808", value));
  EXPECT_FALSE(parse_int64("-9223372036854775809", value));
  EXPECT_FALSE(parse_int64("99999999999999999999", value));
}

TEST(ValueParsing, RefusesWhatIsOnlyPartlyANumber) {
  std::int64_t integer = 0;
  double number = 0;
  for (const char* text : {"", "-", "+", "1x", " 1", "1 ", "0x10", "1e", "--1", "1.2.3", ".", "-+1"}) {
    EXPECT_FALSE(parse_int64(text, integer)) << text;
    EXPECT_FALSE(parse_float64(text, number)) << text;
  }
}

}  // namespace
}  // namespace mobula::data
