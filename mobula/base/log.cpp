#include "mobula/base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"

namespace mobula {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

std::string pattern(std::string_view prefix) {
  std::string escaped;
  for (char c : prefix) escaped += c == '%' ? "%%" : std::string(1, c);
  return escaped.empty() ? "%H:%M:%S.%e %l %v" : "%H:%M:%S.%e %l [" + escaped + "] %v";
}

std::string& prefix_text() {
  static std::string* const text = new std::string;
  return *text;
}

LogFormat& format_slot() {
  static LogFormat format = [] {
    const char* text = std::getenv("MOBULA_LOG_FORMAT");
    return text != nullptr && *text != '\0' ? parse_log_format(text) : LogFormat::text;
  }();
  return format;
}

std::string json_line(LogLevel level, std::string_view text) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  std::tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char time[32];
  std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &parts);
  static constexpr const char* kLevels[] = {"debug", "info", "warning", "error", "off"};
  Json line = {{"time", fmt::format("{}.{:03}Z", time, now.tv_nsec / 1'000'000)},
               {"level", kLevels[static_cast<int>(level)]}};
  if (!prefix_text().empty()) line["worker"] = prefix_text();
  line["message"] = text;
  return to_line(line);
}

spdlog::logger& logger() {
  // Leaked on purpose: static destructors of other libraries may still log.
  static spdlog::logger* const instance = [] {
    auto* made = new spdlog::logger("mobula", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern(format_slot() == LogFormat::json ? "%v" : pattern(""));
    made->flush_on(spdlog::level::debug);
    made->set_level(spdlog::level::info);
    if (const char* level = std::getenv("MOBULA_LOG_LEVEL"); level != nullptr && *level != '\0') {
      made->set_level(to_spdlog(parse_log_level(level)));
    }
    return made;
  }();
  return *instance;
}

}  // namespace

LogLevel parse_log_level(std::string_view text) {
  if (text == "debug") return LogLevel::debug;
  if (text == "info") return LogLevel::info;
  if (text == "warning") return LogLevel::warning;
  if (text == "error") return LogLevel::error;
  if (text == "off") return LogLevel::off;
  throw_invalid(fmt::format("log level '{}' is unknown", text), "choose debug, info, warning, error or off");
}

LogFormat parse_log_format(std::string_view text) {
  if (text == "text") return LogFormat::text;
  if (text == "json") return LogFormat::json;
  throw_invalid(fmt::format("log format '{}' is unknown", text), "choose text or json");
}

void set_log_format(LogFormat format) {
  format_slot() = format;
  logger().set_pattern(format == LogFormat::json ? "%v" : pattern(prefix_text()));
}
LogFormat log_format() {
  return format_slot();
}

void set_log_level(LogLevel level) {
  logger().set_level(to_spdlog(level));
}
bool log_enabled(LogLevel level) {
  return logger().should_log(to_spdlog(level));
}
void set_log_prefix(std::string_view prefix) {
  prefix_text() = prefix;
  set_log_format(format_slot());
}
void write_log(LogLevel level, std::string_view text) {
  if (!log_enabled(level)) return;
  if (format_slot() == LogFormat::json) {
    logger().log(to_spdlog(level), json_line(level, text));
  } else {
    logger().log(to_spdlog(level), text);
  }
}

}  // namespace mobula
