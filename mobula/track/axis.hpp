/// Axes of a plot: a range, round ticks inside it, and the way from values to pixels.
#pragma once

#include <string>
#include <vector>

namespace mobula::track {

struct Tick {
  double value = 0;
  std::string label;
};

/// One axis. Values outside the range map outside the pixels.
class Axis {
 public:
  /// Covers [low, high]; an empty range is widened around its value. `logarithmic` needs low > 0.
  Axis(double low, double high, bool logarithmic = false);

  /// Returns where `value` lies: 0 at the range's low end, 1 at its high end.
  double position(double value) const;
  /// Returns round values inside the range, at most about `wanted` of them, with labels that tell them apart.
  std::vector<Tick> ticks(int wanted) const;
  double low() const noexcept { return low_; }
  double high() const noexcept { return high_; }

 private:
  double low_;
  double high_;
  bool logarithmic_;
};

/// Formats a tick that lies on a multiple of `step`: "1.25", "2,000", "40k", "3M", "1e-07".
std::string format_tick(double value, double step);

}  // namespace mobula::track
