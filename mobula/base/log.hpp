/// Log lines on standard error: time, level, thread's name, text. Standard output is kept for results.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace mobula {

enum class LogLevel { debug, info, warning, error, off };

/// Sets the lowest level that is printed; the default is info, or $MOBULA_LOG_LEVEL. Thread-safe.
void set_log_level(LogLevel level);
/// Parses debug|info|warning|error|off; throws Error(invalid_argument) otherwise.
LogLevel parse_log_level(std::string_view text);
/// Tells whether a line of this level would be printed.
bool log_enabled(LogLevel level);
/// How a line is written: as text, or as one JSON object ({"time", "level", "worker", "message"}).
enum class LogFormat { text, json };
/// Sets it; the default is text, or $MOBULA_LOG_FORMAT. Call it before other threads log.
void set_log_format(LogFormat format);
/// Parses text|json; throws Error(invalid_argument) otherwise.
LogFormat parse_log_format(std::string_view text);
LogFormat log_format();
/// Names this process in its log lines, such as "rank 3". Call it before other threads log.
void set_log_prefix(std::string_view prefix);
/// Writes one line. Thread-safe. Never pass secrets: nothing is masked.
void write_log(LogLevel level, std::string_view text);

template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::debug)) write_log(LogLevel::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::info)) write_log(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::warning)) write_log(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::error)) write_log(LogLevel::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace mobula
