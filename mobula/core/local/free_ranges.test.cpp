#include "mobula/core/local/free_ranges.hpp"

#include <gtest/gtest.h>

namespace mobula {
namespace {

TEST(FreeRanges, TakesTheLowestRangeThatFitsAndKeepsTheRest) {
  FreeRanges ranges;
  EXPECT_EQ(ranges.take(1), std::nullopt);
  ranges.give(100, 10);
  ranges.give(10, 4);
  EXPECT_EQ(ranges.take(5), 100U);
  EXPECT_EQ(ranges.take(4), 10U);
  EXPECT_EQ(ranges.take(6), std::nullopt);
  EXPECT_EQ(ranges.take(5), 105U);
  EXPECT_EQ(ranges.count(), 0U);
}

TEST(FreeRanges, MergesNeighboursOnBothSides) {
  FreeRanges ranges;
  ranges.give(0, 10);
  ranges.give(20, 10);
  ranges.give(10, 10);
  EXPECT_EQ(ranges.count(), 1U);
  EXPECT_EQ(ranges.take(30), 0U);
}

}  // namespace
}  // namespace mobula
