/// Numbers in text: exact, locale-free, and quick for the short decimals that tables are full of.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

namespace mobula::data {

/// Parses a whole text as a signed integer; false where it is none or does not fit.
inline bool parse_int64(std::string_view text, std::int64_t& value) {
  const char* at = text.data();
  const char* const end = at + text.size();
  if (at == end) return false;
  const bool negative = *at == '-';
  if (negative || *at == '+') ++at;
  if (at == end || end - at > 19) return false;
  std::uint64_t digits = 0;
  for (; at < end; ++at) {
    const auto digit = static_cast<unsigned>(*at - '0');
    if (digit > 9) return false;
    digits = digits * 10 + digit;
  }
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (digits > kMax + (negative ? 1 : 0)) return false;
  value = static_cast<std::int64_t>(negative ? 0 - digits : digits);
  return true;
}

/// Parses a whole text as an unsigned integer; false where it is none or does not fit.
inline bool parse_uint64(std::string_view text, std::uint64_t& value) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc{} && end == text.data() + text.size() && !text.empty();
}

/// Parses a whole text as a floating-point number, correctly rounded; also "nan", "inf", "-inf" in any case.
inline bool parse_float64(std::string_view text, double& value) {
  const char* at = text.data();
  const char* const end = at + text.size();
  if (at == end) return false;
  const bool negative = *at == '-';
  if (negative || *at == '+') ++at;
  // Up to 15 digits and a power of ten up to 22 are exact doubles, so one division rounds correctly (Clinger, 1990).
  std::uint64_t digits = 0;
  int num_digits = 0;
  int decimals = 0;
  const char* number = at;
  for (; number < end && static_cast<unsigned>(*number - '0') <= 9; ++number, ++num_digits) {
    digits = digits * 10 + static_cast<unsigned>(*number - '0');
  }
  if (number < end && *number == '.') {
    const char* const point = ++number;
    for (; number < end && static_cast<unsigned>(*number - '0') <= 9; ++number, ++num_digits) {
      digits = digits * 10 + static_cast<unsigned>(*number - '0');
    }
    decimals = static_cast<int>(number - point);
  }
  if (number == end && num_digits > 0 && num_digits <= 15) {
    static constexpr double kPowers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                         1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const double magnitude = static_cast<double>(digits) / kPowers[decimals];
    value = negative ? -magnitude : magnitude;
    return true;
  }
  if (at == end || *at == '-' || *at == '+') return false;
  const auto [stop, failure] = std::from_chars(at, end, value);
  if (failure == std::errc::result_out_of_range) return false;
  if (failure != std::errc{} || stop != end) return false;
  if (negative) value = -value;
  return true;
}

/// Parses true/false in lower, upper and title case.
inline bool parse_bool(std::string_view text, bool& value) {
  if (text == "true" || text == "True" || text == "TRUE") {
    value = true;
    return true;
  }
  value = false;
  return text == "false" || text == "False" || text == "FALSE";
}

}  // namespace mobula::data
