#include "mobula/serve/stop_matcher.hpp"

#include <gtest/gtest.h>

#include "mobula/base/random.hpp"

namespace mobula::serve {
namespace {

TEST(StopMatcher, LetsTextThroughWithoutStops) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.push("hello"), "hello");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, HoldsBackWhatMayBecomeAStop) {
  StopMatcher matcher({"###"});
  EXPECT_EQ(matcher.push("ab#"), "ab");
  EXPECT_EQ(matcher.push("#"), "");
  EXPECT_EQ(matcher.push("c"), "##c");
  EXPECT_FALSE(matcher.stopped());
  EXPECT_EQ(matcher.push("#"), "");
  EXPECT_EQ(matcher.finish(), "#");
}

TEST(StopMatcher, CutsAtTheFirstOfSeveralStops) {
  StopMatcher matcher({"world", "lo w"});
  EXPECT_EQ(matcher.push("hello world"), "hel");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, FindsAStopWhoseBeginningRepeats) {
  StopMatcher matcher({"aab"});
  EXPECT_EQ(matcher.push("aaa"), "a");
  EXPECT_EQ(matcher.push("b"), "");
  EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcher, IgnoresEmptyStops) {
  StopMatcher matcher({""});
  EXPECT_EQ(matcher.push("x"), "x");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, ShowsTheSameHoweverTheTextIsCut) {
  Random random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 30; ++i) text.push_back(static_cast<char>('a' + random.below(3)));
    const std::vector<std::string> stops = {"abca", "bcb", "aacc"};
    std::size_t first = text.size();
    for (const std::string& stop : stops) first = std::min(first, text.find(stop));
    StopMatcher matcher(stops);
    std::string shown;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = 1 + random.below(5);
      shown += matcher.push(std::string_view(text).substr(at, length));
      at += length;
    }
    shown += matcher.finish();
    EXPECT_EQ(shown, text.substr(0, first)) << text;
    EXPECT_EQ(matcher.stopped(), first < text.size());
  }
}

}  // namespace
}  // namespace mobula::serve
