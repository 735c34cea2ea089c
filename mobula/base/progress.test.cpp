#include "mobula/base/progress.hpp"

#include <gtest/gtest.h>

namespace mobula {
namespace {

TEST(Progress, WritesPlainLinesIntoAPipe) {
  testing::internal::CaptureStderr();
  {
    Progress progress("training", 10);
    for (std::uint64_t step = 0; step <= 10; ++step) progress.update(step, "loss 2.5");
  }
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(text, "training 10/10 100%  loss 2.5\n");
}

TEST(Progress, SaysNothingWhenTurnedOff) {
  set_progress_enabled(false);
  testing::internal::CaptureStderr();
  {
    Progress progress("training", 1);
    progress.update(0);
    progress.update(1);
  }
  set_progress_enabled(true);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace mobula
