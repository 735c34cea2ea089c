#include <fmt/format.h>

#include <cmath>

#include "mobula/track/plot.hpp"

namespace mobula::track {
namespace {

constexpr std::size_t kFewPoints = 50;     // fewer are not worth smoothing
constexpr double kPointsPerHorizon = 150;  // a short average: it lags behind by its length

std::vector<PlotPoint> to_points(const std::vector<MetricPoint>& points) {
  std::vector<PlotPoint> result;
  result.reserve(points.size());
  for (const MetricPoint& point : points) result.push_back({static_cast<double>(point.step), point.value});
  return result;
}

std::string with_best(std::string label, const std::vector<MetricPoint>& points) {
  const MetricPoint* best = nullptr;
  for (const MetricPoint& point : points) {
    if (std::isfinite(point.value) && (best == nullptr || point.value < best->value)) best = &point;
  }
  return best == nullptr ? label : fmt::format("{} (best {:.4g} at step {})", label, best->value, best->step);
}

}  // namespace

std::vector<MetricPoint> smooth(const std::vector<MetricPoint>& points, double horizon) {
  const double keep = std::exp(-1 / std::max(horizon, 1e-3));
  double average = 0;
  double weight = 0;
  std::vector<MetricPoint> result = points;
  for (MetricPoint& point : result) {
    if (!std::isfinite(point.value)) continue;
    average = keep * average + (1 - keep) * point.value;
    weight = keep * weight + (1 - keep);
    point.value = average / weight;
  }
  return result;
}

std::string loss_plot(const std::vector<LossCurves>& runs, std::string_view title) {
  std::vector<PlotSeries> series;
  int color = 0;
  for (const LossCurves& run : runs) {
    // One run shows its curves in two colours; of several, each has one.
    const std::string prefix = runs.size() > 1 ? run.name + ": " : "";
    const int train_color = color++;
    const int validation_color = runs.size() > 1 ? train_color : color++;
    if (run.train.size() < kFewPoints) {
      if (!run.train.empty())
        series.push_back({prefix + "train", to_points(run.train), SeriesStyle::line, train_color});
    } else {
      if (runs.size() == 1) {
        series.push_back({"train, each step", to_points(run.train), SeriesStyle::faint, train_color});
      }
      const double horizon = static_cast<double>(run.train.size()) / kPointsPerHorizon;
      const char* label = runs.size() == 1 ? "train, smoothed" : "train";
      series.push_back({prefix + label, to_points(smooth(run.train, horizon)), SeriesStyle::line, train_color});
    }
    if (!run.validation.empty()) {
      series.push_back({with_best(prefix + "validation", run.validation), to_points(run.validation),
                        SeriesStyle::marked, validation_color});
    }
  }
  return plot_svg(series, {.title = std::string(title), .y_label = "loss (nats per token)"});
}

}  // namespace mobula::track
