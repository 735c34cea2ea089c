#include "mobula/text/regex/regex.hpp"

#include <gtest/gtest.h>

#include "mobula/base/error.hpp"

namespace mobula::text {
namespace {

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  std::vector<Stretch> stretches;
  Regex::compile(pattern, "test").find_all(text, stretches);
  std::vector<std::string> found;
  for (const Stretch& stretch : stretches) {
    if (stretch.matched) found.emplace_back(text.substr(stretch.begin, stretch.end - stretch.begin));
  }
  return found;
}

using Texts = std::vector<std::string>;

TEST(Regex, FollowsOnigurumasMeaningOfClasses) {
  EXPECT_EQ(matches("\\h+", "xyz 1fG"), (Texts{"1f"}));
  EXPECT_EQ(matches("(?m)a.b", "a\nb"), (Texts{"a\nb"}));
  EXPECT_EQ(matches("^b$", "a\nb\nc"), (Texts{"b"}));
  EXPECT_EQ(matches("\\s", "\xC2\x85\xE1\xA0\x8E"), (Texts{"\xC2\x85"}));  // U+180E is no space any more
  EXPECT_EQ(matches("\\u0041|\\x42", "AB"), (Texts{"A", "B"}));
}

TEST(Regex, IntersectsClasses) {
  EXPECT_EQ(matches("[\\p{L}&&[^aeiou]]+", "bcd e fgh"), (Texts{"bcd", "fgh"}));
  EXPECT_EQ(matches("[^\\p{L}&&[^aeiou]]+", "abc12"), (Texts{"a", "12"}));
}

TEST(Regex, FindsEmptyMatchesOnce) {
  EXPECT_EQ(matches("x*", "axb"), (Texts{"", "x", ""}));
}

TEST(Regex, NamesThePatternThatIsWrong) {
  try {
    Regex::compile("a(b", "key");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message().find("key: 'a(b': "), 0U) << error.message();
  }
  EXPECT_THROW(Regex::compile("[a", "key"), Error);
  EXPECT_THROW(Regex::compile("a\\", "key"), Error);
}

TEST(Regex, GivesUpOnPatternsThatNeverEnd) {
  EXPECT_THROW(matches("^(a+)+$", std::string(100, 'a') + "b"), Error);
}

}  // namespace
}  // namespace mobula::text
