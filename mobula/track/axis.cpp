#include "mobula/track/axis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace mobula::track {
namespace {

// Returns the smallest of 1, 2, 2.5, 5 times a power of ten that is at least `rough`.
double round_step(double rough) {
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= rough * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

int decimals_of(double step) {
  int decimals = 0;
  for (double scaled = step; decimals < 6 && std::abs(scaled - std::round(scaled)) > 1e-6 * scaled; ++decimals) {
    scaled *= 10;
  }
  return decimals;
}

std::string with_thousands(double value) {
  const std::string digits = fmt::format("{:.0f}", std::abs(value));
  std::string text = value < 0 ? "-" : "";
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

}  // namespace

std::string format_tick(double value, double step) {
  if (value == 0 || std::abs(value) < step * 1e-6) return "0";
  const double size = std::abs(value);
  if (size < 1e-4 || size >= 1e15) return fmt::format("{:.3g}", value);
  for (const auto& [unit, suffix] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}) {
    if (size < unit || size < 1e4) continue;
    return fmt::format("{:.{}f}{}", value / unit, decimals_of(step / unit), suffix);
  }
  const int decimals = decimals_of(step);
  return decimals == 0 ? with_thousands(value) : fmt::format("{:.{}f}", value, decimals);
}

Axis::Axis(double low, double high, bool logarithmic) : low_(low), high_(high), logarithmic_(logarithmic) {
  if (high_ > low_) return;
  const double margin = low_ == 0 ? 1 : std::abs(low_) * 0.1;
  low_ -= margin;
  high_ = low_ + 2 * margin;
}

double Axis::position(double value) const {
  if (logarithmic_) return std::log(value / low_) / std::log(high_ / low_);
  return (value - low_) / (high_ - low_);
}

std::vector<Tick> Axis::ticks(int wanted) const {
  std::vector<Tick> ticks;
  const double slack = (high_ - low_) * 1e-9;
  if (!logarithmic_) {
    const double step = round_step((high_ - low_) / std::max(wanted, 1));
    for (double index = std::ceil((low_ - slack) / step); index * step <= high_ + slack; ++index) {
      ticks.push_back({index * step, format_tick(index * step, step)});
    }
    return ticks;
  }
  const double decades = std::log10(high_ / low_);
  for (double power = std::floor(std::log10(low_)); power <= std::log10(high_); ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor != 1.0 && decades * 3 > wanted) continue;
      const double value = factor * std::pow(10.0, power);
      if (value >= low_ - slack && value <= high_ + slack) ticks.push_back({value, format_tick(value, value)});
    }
  }
  // Over very many decades only every other power, every third ... stays.
  const std::size_t stride = 1 + ticks.size() / static_cast<std::size_t>(std::max(2 * wanted, 1));
  std::vector<Tick> kept;
  for (std::size_t i = 0; i < ticks.size(); i += stride) kept.push_back(ticks[i]);
  return kept;
}

}  // namespace mobula::track
