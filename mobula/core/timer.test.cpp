#include "mobula/core/timer.hpp"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <vector>

namespace mobula {
namespace {

using namespace std::chrono_literals;

TEST(Timer, RunsWorkInTheOrderOfItsTimes) {
  Timer timer;
  const auto now = Timer::Clock::now();
  std::vector<int> order;
  std::promise<void> done;
  timer.at(now + 20ms, [&] {
    order.push_back(2);
    done.set_value();
  });
  timer.at(now + 10ms, [&] { order.push_back(1); });
  done.get_future().wait();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(Timer, TakesWorkBackThatHasNotBegun) {
  Timer timer;
  auto held = std::make_shared<int>(1);
  const Timer::Id id = timer.at(Timer::Clock::now() + 1h, [held] {});
  EXPECT_EQ(held.use_count(), 2);
  EXPECT_TRUE(timer.cancel(id));
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_FALSE(timer.cancel(id));
}

TEST(Timer, DropsWhatIsLeftWhenItStops) {
  auto held = std::make_shared<int>(1);
  Timer timer;
  timer.at(Timer::Clock::now() + 1h, [held] {});
  timer.stop();
  EXPECT_EQ(held.use_count(), 1);
  timer.at(Timer::Clock::now(), [held] {});
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace mobula
