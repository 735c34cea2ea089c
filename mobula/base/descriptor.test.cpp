#include "mobula/base/descriptor.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace mobula {
namespace {

bool is_open(int number) {
  return fcntl(number, F_GETFD) != -1;
}

TEST(Descriptor, ClosesWhatItOwnsOnceAndNothingElse) {
  int first = -1;
  int second = -1;
  {
    Descriptor a(open("/dev/null", O_RDONLY | O_CLOEXEC));
    Descriptor b(open("/dev/null", O_RDONLY | O_CLOEXEC));
    first = a.get();
    second = b.get();
    ASSERT_TRUE(a && b);
    Descriptor moved(std::move(a));
    EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move): what is left is what is tested
    EXPECT_EQ(moved.get(), first);
    b.reset();
    EXPECT_FALSE(is_open(second));
    EXPECT_TRUE(is_open(first));
  }
  EXPECT_FALSE(is_open(first));
}

}  // namespace
}  // namespace mobula
