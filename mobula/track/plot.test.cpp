#include "mobula/track/plot.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "mobula/base/random.hpp"
#include "mobula/track/axis.hpp"

namespace mobula::track {
namespace {

std::vector<std::string> labels(const Axis& axis, int wanted) {
  std::vector<std::string> result;
  for (const Tick& tick : axis.ticks(wanted)) result.push_back(tick.label);
  return result;
}

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

std::vector<MetricPoint> falling_loss(int steps) {
  Random random(7);
  std::vector<MetricPoint> points;
  for (int step = 1; step <= steps; ++step) {
    points.push_back({step, 1.8 + 2.4 * std::exp(-step / (steps / 6.0)) + 0.08 * random.normal(), 0});
  }
  return points;
}

using Labels = std::vector<std::string>;

TEST(Axis, PutsTicksOnRoundValues) {
  EXPECT_EQ(labels(Axis(0, 2000), 9), (Labels{"0", "250", "500", "750", "1,000", "1,250", "1,500", "1,750", "2,000"}));
  EXPECT_EQ(labels(Axis(1.72, 4.3), 7), (Labels{"2.0", "2.5", "3.0", "3.5", "4.0"}));
  EXPECT_EQ(labels(Axis(0, 100'000), 5), (Labels{"0", "20k", "40k", "60k", "80k", "100k"}));
  EXPECT_EQ(labels(Axis(-1, 1), 4), (Labels{"-1.0", "-0.5", "0", "0.5", "1.0"}));
}

TEST(Axis, PutsLogarithmicTicksOnOneTwoFive) {
  EXPECT_EQ(labels(Axis(1, 100, true), 9), (Labels{"1", "2", "5", "10", "20", "50", "100"}));
  EXPECT_EQ(labels(Axis(1e-3, 1e3, true), 7), (Labels{"0.001", "0.01", "0.1", "1", "10", "100", "1,000"}));
}

TEST(Axis, WidensAnEmptyRange) {
  const Axis axis(3, 3);
  EXPECT_NEAR(axis.position(3), 0.5, 1e-9);
  EXPECT_FALSE(axis.ticks(5).empty());
  EXPECT_FALSE(Axis(0, 0).ticks(5).empty());
}

TEST(Smooth, StartsAtTheFirstValueAndFollowsALevel) {
  const auto smoothed = smooth({{1, 4, 0}, {2, 2, 0}, {3, 2, 0}, {4, 2, 0}}, 1);
  EXPECT_DOUBLE_EQ(smoothed[0].value, 4);
  EXPECT_GT(smoothed[1].value, 2);
  EXPECT_LT(smoothed[1].value, 3);
  EXPECT_LT(smoothed[3].value, smoothed[2].value);
}

TEST(Smooth, LeavesOutWhatIsNotANumber) {
  const auto smoothed = smooth({{1, 2, 0}, {2, std::nan(""), 0}, {3, 2, 0}}, 10);
  EXPECT_TRUE(std::isnan(smoothed[1].value));
  EXPECT_DOUBLE_EQ(smoothed[2].value, 2);
}

TEST(LossPlot, ShowsRawSmoothedAndValidationWithTheBest) {
  const std::string svg =
      loss_plot({{"a", falling_loss(2000), {{500, 2.5, 0}, {1000, 1.9, 0}, {1500, 2.0, 0}}}}, "Run");
  EXPECT_EQ(count(svg, "<polyline"), 3u);
  EXPECT_NE(svg.find("train, smoothed"), std::string::npos);
  EXPECT_NE(svg.find("validation (best 1.9 at step 1000)"), std::string::npos);
  EXPECT_EQ(svg.rfind("</svg>\n"), svg.size() - 7);
}

TEST(LossPlot, StaysSmallForLongRuns) {
  const std::string svg = loss_plot({{"a", falling_loss(300'000), {}}}, "Long");
  EXPECT_LT(svg.size(), 200'000u);
}

TEST(LossPlot, EscapesNamesAndReplacesInvalidUtf8) {
  const std::string svg = loss_plot({{"a", falling_loss(10), {}}}, "<b> & \xff\x01");
  EXPECT_EQ(svg.find("<b>"), std::string::npos);
  EXPECT_NE(svg.find("&lt;b&gt; &amp; \xef\xbf\xbd "), std::string::npos);
}

TEST(LossPlot, BreaksTheLineWhereTheLossIsNotFinite) {
  auto points = falling_loss(20);
  points[10].value = std::numeric_limits<double>::infinity();
  EXPECT_EQ(count(loss_plot({{"a", points, {}}}, "Diverged"), "<polyline"), 2u);
}

TEST(LossPlot, TakesRunsWithoutPoints) {
  const std::string svg = loss_plot({{"a", {}, {}}}, "Nothing yet");
  EXPECT_EQ(count(svg, "<polyline"), 0u);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

TEST(LossPlot, NeverPrintsNumbersThatAreNoNumbers) {
  for (const double value : {0.0, -5.0, 1e300, 1e-300}) {
    const std::string svg = loss_plot({{"a", {{0, value, 0}, {0, value, 0}}, {{0, value, 0}}}}, "Odd");
    EXPECT_EQ(svg.find("nan"), std::string::npos) << value;
    EXPECT_EQ(svg.find("inf"), std::string::npos) << value;
  }
}

TEST(PlotSvg, UsesALogarithmicAxisForWideRanges) {
  const std::string svg = plot_svg({{"lr", {{1, 1e-5}, {100, 1e-3}, {200, 1}}}}, {.title = "lr", .y_label = "lr"});
  EXPECT_NE(svg.find(">0.1<"), std::string::npos);
  EXPECT_NE(svg.find(">0.001<"), std::string::npos);
}

}  // namespace
}  // namespace mobula::track
