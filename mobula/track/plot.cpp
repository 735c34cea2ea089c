#include "mobula/track/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>

#include "mobula/base/json.hpp"
#include "mobula/track/axis.hpp"

namespace mobula::track {
namespace {

// Okabe and Ito's palette without yellow, told apart by colour-blind readers too.
constexpr std::array<const char*, 8> kPalette = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                 "#56b4e9", "#e69f00", "#555555", "#7a3e9d"};
constexpr double kLogarithmicFrom = 50;
constexpr std::size_t kMaxMarkers = 200;
constexpr double kCharacterWidth = 6.9;  // of 12 px sans-serif, on average

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

struct Frame {
  double left, top, right, bottom;
};

bool is_finite(const PlotPoint& point) {
  return std::isfinite(point.x) && std::isfinite(point.y);
}

std::string escape(std::string_view text) {
  // A round trip through JSON replaces invalid UTF-8.
  const std::string valid = Json::parse(to_line(Json(text))).get<std::string>();
  std::string result;
  for (const char character : valid) {
    switch (character) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += static_cast<unsigned char>(character) < 0x20 ? ' ' : character;
    }
  }
  return result;
}

/// Draws one plot into a growing document.
class Canvas {
 public:
  Canvas(Frame frame, Axis x, Axis y) : frame_(frame), x_(x), y_(y) {}

  double pixel_x(double value) const { return frame_.left + x_.position(value) * (frame_.right - frame_.left); }
  double pixel_y(double value) const {
    // Keeps what lies far outside at a distance that every viewer's arithmetic survives.
    const double position = std::clamp(y_.position(value), -1.0, 2.0);
    return frame_.bottom - position * (frame_.bottom - frame_.top);
  }

  void draw_axes(const PlotOptions& options) {
    for (const Tick& tick : y_.ticks(7)) {
      const double y = pixel_y(tick.value);
      add("<line class=\"grid\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", frame_.left, y,
          frame_.right, y);
      add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", frame_.left - 8, y + 4, tick.label);
    }
    for (const Tick& tick : x_.ticks(9)) {
      const double x = pixel_x(tick.value);
      add("<line class=\"tick\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", x, frame_.bottom, x,
          frame_.bottom + 5);
      add("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", x, frame_.bottom + 19, tick.label);
    }
    add("<line class=\"tick\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", frame_.left, frame_.bottom,
        frame_.right, frame_.bottom);
    add("<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
        (frame_.left + frame_.right) / 2, frame_.bottom + 40, escape(options.x_label));
    const double middle = (frame_.top + frame_.bottom) / 2;
    add("<text class=\"label\" x=\"18\" y=\"{0:.1f}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {0:.1f})\">{1}"
        "</text>\n",
        middle, escape(options.y_label));
  }

  void draw_series(const PlotSeries& series) {
    const char* color = color_of(series);
    const char* style = series.style == SeriesStyle::faint ? "faint" : "curve";
    std::vector<PlotPoint> run;
    const auto flush = [&] {
      if (run.size() > 1) draw_line(thin(run), style, color);
      if (run.size() == 1) draw_dot(run.front(), color);
      run.clear();
    };
    for (const PlotPoint& point : series.points) {
      if (is_finite(point)) {
        run.push_back(point);
      } else {
        flush();
      }
    }
    flush();
    if (series.style != SeriesStyle::marked || series.points.size() > kMaxMarkers) return;
    for (const PlotPoint& point : series.points) {
      if (is_finite(point)) draw_dot(point, color);
    }
  }

  static const char* color_of(const PlotSeries& series) {
    return kPalette[static_cast<std::size_t>(series.color) % kPalette.size()];
  }

  std::string text;

  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
  }

 private:
  // Keeps each pixel column's first, lowest, highest and last point: the drawn line looks the same.
  std::vector<PlotPoint> thin(const std::vector<PlotPoint>& points) const {
    if (points.size() < 4 * static_cast<std::size_t>(frame_.right - frame_.left)) return points;
    std::vector<PlotPoint> kept;
    for (std::size_t begin = 0; begin < points.size();) {
      const double column = std::floor(pixel_x(points[begin].x));
      std::size_t end = begin, low = begin, high = begin;
      for (; end < points.size() && std::floor(pixel_x(points[end].x)) == column; ++end) {
        if (points[end].y < points[low].y) low = end;
        if (points[end].y > points[high].y) high = end;
      }
      std::array<std::size_t, 4> indices = {begin, low, high, end - 1};
      std::sort(indices.begin(), indices.end());
      for (std::size_t i = 0; i < indices.size(); ++i) {
        if (i == 0 || indices[i] != indices[i - 1]) kept.push_back(points[indices[i]]);
      }
      begin = end;
    }
    return kept;
  }

  void draw_line(const std::vector<PlotPoint>& points, const char* style, const char* color) {
    add("<polyline class=\"{}\" stroke=\"{}\" points=\"", style, color);
    for (const PlotPoint& point : points) add("{:.1f},{:.1f} ", pixel_x(point.x), pixel_y(point.y));
    add("\"/>\n");
  }

  void draw_dot(const PlotPoint& point, const char* color) {
    add("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", pixel_x(point.x), pixel_y(point.y), color);
  }

  Frame frame_;
  Axis x_;
  Axis y_;
};

Axis x_axis(const std::vector<PlotSeries>& series) {
  Range range;
  for (const PlotSeries& one : series) {
    for (const PlotPoint& point : one.points) {
      if (is_finite(point)) range.include(point.x);
    }
  }
  if (range.empty()) return {0, 1};
  // Steps start near zero; a resumed part of a long run doesn't.
  if (range.low > 0 && range.low < 0.2 * range.high) range.low = 0;
  return {range.low, range.high};
}

Axis y_axis(const std::vector<PlotSeries>& series) {
  Range range;
  Range faint;
  for (const PlotSeries& one : series) {
    for (const PlotPoint& point : one.points) {
      if (is_finite(point)) (one.style == SeriesStyle::faint ? faint : range).include(point.y);
    }
  }
  if (range.empty()) range = faint;
  if (range.empty()) return {0, 1};
  if (range.low > 0 && range.high > kLogarithmicFrom * range.low) {
    return {range.low / 1.2, range.high * 1.2, true};
  }
  const double margin = (range.high - range.low) * 0.05;
  return {range.low - margin, range.high + margin};
}

/// Places legend entries from left to right, in as many rows as they need. Returns the height used.
double draw_legend(Canvas& canvas, const std::vector<PlotSeries>& series, double left, double right, double top) {
  double x = left;
  double y = top;
  for (const PlotSeries& one : series) {
    if (one.label.empty()) continue;
    const double width = 34 + kCharacterWidth * static_cast<double>(one.label.size()) + 20;
    if (x > left && x + width > right) {
      x = left;
      y += 20;
    }
    const char* style = one.style == SeriesStyle::faint ? "faint" : "curve";
    canvas.add("<line class=\"{}\" stroke=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", style,
               Canvas::color_of(one), x, y, x + 26, y);
    if (one.style == SeriesStyle::marked) {
      canvas.add("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", x + 13, y, Canvas::color_of(one));
    }
    canvas.add("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", x + 34, y + 4, escape(one.label));
    x += width;
  }
  return y - top + 20;
}

constexpr const char* kStyle = R"(<style>
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #333 }
.title { font-size: 17px; font-weight: 600; fill: #111 }
.label { font-size: 13px }
.grid { stroke: #e6e6e6 }
.tick { stroke: #999 }
.curve { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.faint { fill: none; stroke-width: 1; stroke-opacity: 0.28; stroke-linejoin: round }
</style>
)";

}  // namespace

std::string plot_svg(const std::vector<PlotSeries>& series, const PlotOptions& options) {
  constexpr double kLeft = 72;
  const double right = options.width - 24;
  const double bottom = options.height - 56;
  Canvas head({}, {0, 1}, {0, 1});
  head.add("<text class=\"title\" x=\"{:.1f}\" y=\"30\">{}</text>\n", kLeft, escape(options.title));
  const double legend_height = draw_legend(head, series, kLeft, right, 52);

  const Frame frame{kLeft, 52 + legend_height, right, bottom};
  Canvas plot(frame, x_axis(series), y_axis(series));
  plot.draw_axes(options);
  plot.add("<clipPath id=\"frame\"><rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/></clipPath>\n",
           frame.left, frame.top, frame.right - frame.left + 4, frame.bottom - frame.top);
  plot.add("<g clip-path=\"url(#frame)\">\n");
  for (const bool faint : {true, false}) {
    for (const PlotSeries& one : series) {
      if ((one.style == SeriesStyle::faint) == faint) plot.draw_series(one);
    }
  }
  plot.add("</g>\n");
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\">\n"
      "<title>{2}</title>\n{3}<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{4}{5}</svg>\n",
      options.width, options.height, escape(options.title), kStyle, head.text, plot.text);
}

}  // namespace mobula::track
