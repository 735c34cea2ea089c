/// Single values as text: numbers, times, strings in quotes.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace mobula::data {

/// Appends the shortest text that reads back as the same number; floating-point numbers keep a point or an exponent.
template <class T>
void append_number(T value, std::string& out) {
  char text[40];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  out.append(text, static_cast<std::size_t>(end - text));
  if constexpr (std::is_floating_point_v<T>) {
    // 1.0 stays a float for whoever reads it back.
    if (std::string_view(text, static_cast<std::size_t>(end - text)).find_first_of(".en") == std::string_view::npos)
      out += ".0";
  }
}

/// Appends the date that lies `days` after 1970-01-01, as YYYY-MM-DD.
void append_date(std::int64_t days, std::string& out);
/// Appends a time since midnight as HH:MM:SS, with 3, 6 or 9 digits of a fraction that isn't 0.
void append_time_of_day(std::int64_t units, std::int64_t per_second, std::string& out);
/// Appends a time since 1970 as YYYY-MM-DDTHH:MM:SS, with `Z` behind it where it is in UTC.
void append_timestamp(std::int64_t value, std::int64_t per_second, bool utc, std::string& out);

/// Appends a string in quotes, escaped as JSON wants it.
void append_json_string(std::string_view text, std::string& out);
/// Appends a CSV field, quoted where it must be.
void append_csv_string(std::string_view text, char delimiter, std::string& out);

}  // namespace mobula::data
