#include "mobula/base/nearest.hpp"

#include <gtest/gtest.h>

namespace mobula {
namespace {

TEST(Nearest, FindsWhatAMisspellingMeant) {
  const std::vector<std::string> names{"steps", "batch_size", "lr", "context"};
  EXPECT_EQ(nearest("stpes", names), "steps");
  EXPECT_EQ(nearest("batchsize", names), "batch_size");
  EXPECT_EQ(nearest("contxt", names), "context");
  EXPECT_EQ(nearest("elephant", names), std::nullopt);
}

TEST(Nearest, SuggestsOrLists) {
  EXPECT_EQ(suggest("strategi", {"strategy"}), "did you mean 'strategy'?");
  EXPECT_EQ(suggest("elephant", {"a", "b"}), "known: a, b");
  EXPECT_EQ(suggest("elephant", {}), "");
}

}  // namespace
}  // namespace mobula
