/// Plots of metrics as SVG files: no library, no fonts of our own, readable in every browser.
///
///     write_file_atomic(dir / "loss.svg", loss_plot({{"baseline", train_points, validation_points}}, "tiny Shakespeare"));
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/track/run.hpp"

namespace mobula::track {

/// How a series is drawn.
enum class SeriesStyle {
  line,
  faint,   ///< a pale line behind the others that doesn't decide the y axis: noisy raw values
  marked,  ///< a line with a dot at each point
};

struct PlotPoint {
  double x = 0;
  double y = 0;
};

struct PlotSeries {
  std::string label;              ///< its name in the legend; empty leaves it out
  std::vector<PlotPoint> points;  ///< by x; points that are not finite interrupt the line
  SeriesStyle style = SeriesStyle::line;
  int color = 0;  ///< index into the palette, which repeats after 8
};

struct PlotOptions {
  std::string title;
  std::string x_label = "step";
  std::string y_label;
  int width = 900;   ///< pixels
  int height = 520;  ///< pixels
};

/// Draws series as an SVG document. The y axis is logarithmic where all values are positive and span more than a factor
/// of 50. Long series are thinned to what the pixels can show (each column's lowest and highest value), so the document
/// stays below some 100 kB a series.
std::string plot_svg(const std::vector<PlotSeries>& series, const PlotOptions& options);

/// The curves of one run.
struct LossCurves {
  std::string name;
  std::vector<MetricPoint> train;       ///< by step
  std::vector<MetricPoint> validation;  ///< by step; may be empty
};

/// Draws training loss (raw and smoothed) and validation loss of one or several runs.
std::string loss_plot(const std::vector<LossCurves>& runs, std::string_view title);

/// Smooths by an exponential moving average over about `horizon` points, corrected for its start (as Adam corrects its
/// moments: Kingma and Ba, 2015). Values that are not finite are left out of the average.
std::vector<MetricPoint> smooth(const std::vector<MetricPoint>& points, double horizon);

}  // namespace mobula::track
