#include "mobula/base/size.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <utility>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

struct Quantity {
  double number;
  std::string_view unit;
};

Quantity split(std::string_view text, const char* what, const char* example) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || number < 0) {
    throw_invalid(fmt::format("'{}' is no {}", text, what), example);
  }
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  return {number, unit};
}

constexpr const char* kSizeExample = "write a number and a unit, such as 512MB, 4GiB or 65536";
constexpr const char* kDurationExample = "write a number and a unit, such as 500ms, 30s or 2h";

}  // namespace

std::uint64_t parse_size(std::string_view text) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {{"", 1},
                                                                   {"B", 1},
                                                                   {"kB", 1e3},
                                                                   {"KB", 1e3},
                                                                   {"MB", 1e6},
                                                                   {"GB", 1e9},
                                                                   {"TB", 1e12},
                                                                   {"KiB", 1024.0},
                                                                   {"MiB", 1048576.0},
                                                                   {"GiB", 1073741824.0},
                                                                   {"k", 1e3},
                                                                   {"K", 1e3},
                                                                   {"M", 1e6},
                                                                   {"G", 1e9},
                                                                   {"T", 1e12},
                                                                   {"TiB", 1099511627776.0}};
  const Quantity quantity = split(text, "size", kSizeExample);
  for (const auto& [unit, factor] : kUnits) {
    if (quantity.unit != unit) continue;
    const double bytes = quantity.number * factor;
    if (bytes > 9e18) throw_invalid(fmt::format("'{}' is larger than any memory", text), kSizeExample);
    return static_cast<std::uint64_t>(std::llround(bytes));
  }
  throw_invalid(fmt::format("'{}' has an unknown unit '{}'", text, quantity.unit), kSizeExample);
}

std::string format_size(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.3g} {}", value, kUnits[unit]);
}

std::chrono::nanoseconds parse_duration(std::string_view text) {
  static constexpr std::pair<std::string_view, double> kUnits[] = {{"", 1e9},     {"ns", 1},     {"us", 1e3},
                                                                   {"ms", 1e6},   {"s", 1e9},    {"m", 60e9},
                                                                   {"min", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
  const Quantity quantity = split(text, "duration", kDurationExample);
  for (const auto& [unit, factor] : kUnits) {
    if (quantity.unit != unit) continue;
    const double nanoseconds = quantity.number * factor;
    if (nanoseconds > 9e18) throw_invalid(fmt::format("'{}' is longer than 290 years", text), kDurationExample);
    return std::chrono::nanoseconds(std::llround(nanoseconds));
  }
  throw_invalid(fmt::format("'{}' has an unknown unit '{}'", text, quantity.unit), kDurationExample);
}

std::string format_duration(std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  if (seconds < 1e-3) return fmt::format("{:.3g} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3g} ms", seconds * 1e3);
  if (seconds < 100) return fmt::format("{:.3g} s", seconds);
  const auto whole = static_cast<long long>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

}  // namespace mobula
