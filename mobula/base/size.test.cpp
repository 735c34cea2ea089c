#include "mobula/base/size.hpp"

#include <gtest/gtest.h>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Size, ParsesDecimalAndBinaryUnits) {
  EXPECT_EQ(parse_size("256MB"), 256'000'000u);
  EXPECT_EQ(parse_size("1.5 GiB"), 1'610'612'736u);
  EXPECT_EQ(parse_size("65536"), 65536u);
  for (const char* bad : {"", "MB", "-1MB", "3 bananas", "1e30GB", "nan"}) EXPECT_THROW(parse_size(bad), Error) << bad;
}

TEST(Size, FormatsForPeople) {
  EXPECT_EQ(format_size(512), "512 B");
  EXPECT_EQ(format_size(1'500'000'000), "1.5 GB");
}

TEST(Duration, ParsesUnitsAndBareSeconds) {
  EXPECT_EQ(parse_duration("30s"), seconds(30));
  EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
  EXPECT_EQ(parse_duration("2"), seconds(2));
  EXPECT_EQ(parse_duration("2h"), seconds(7200));
  for (const char* bad : {"", "s", "-1s", "3 moons"}) EXPECT_THROW(parse_duration(bad), Error) << bad;
}

TEST(Duration, FormatsForPeople) {
  EXPECT_EQ(format_duration(milliseconds(850)), "850 ms");
  EXPECT_EQ(format_duration(seconds(245)), "4 min 05 s");
  EXPECT_EQ(format_duration(seconds(7800)), "2 h 10 min");
}

}  // namespace
}  // namespace mobula
