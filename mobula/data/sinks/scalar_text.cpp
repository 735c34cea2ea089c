#include "mobula/data/sinks/scalar_text.hpp"

#include <fmt/format.h>

#include <chrono>
#include <iterator>

namespace mobula::data {

void append_date(std::int64_t days, std::string& out) {
  const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{days}}};
  fmt::format_to(std::back_inserter(out), "{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
}

void append_time_of_day(std::int64_t units, std::int64_t per_second, std::string& out) {
  const std::int64_t seconds = units / per_second;
  fmt::format_to(std::back_inserter(out), "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
  const std::int64_t fraction = units % per_second;
  if (fraction == 0) return;
  const int digits = per_second == 1'000 ? 3 : per_second == 1'000'000 ? 6 : 9;
  fmt::format_to(std::back_inserter(out), ".{:0{}}", fraction, digits);
}

void append_timestamp(std::int64_t value, std::int64_t per_second, bool utc, std::string& out) {
  const std::int64_t per_day = 86'400 * per_second;
  std::int64_t days = value / per_day;
  if (value % per_day < 0) --days;
  append_date(days, out);
  out += 'T';
  append_time_of_day(value - days * per_day, per_second, out);
  if (utc) out += 'Z';
}

void append_json_string(std::string_view text, std::string& out) {
  out += '"';
  std::size_t plain = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text.substr(plain, i - plain));
    plain = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    }
  }
  out.append(text.substr(plain));
  out += '"';
}

void append_csv_string(std::string_view text, char delimiter, std::string& out) {
  const char special[] = {delimiter, '"', '\n', '\r'};
  if (!text.empty() && text.find_first_of(std::string_view(special, 4)) == std::string_view::npos) {
    out.append(text);
    return;
  }
  out += '"';
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
}

}  // namespace mobula::data
