#include "mobula/base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "mobula/base/error.hpp"

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

spdlog::logger& logger() {
  // Leaked on purpose: static destructors of other libraries may still log.
  static spdlog::logger* const instance = [] {
    auto* made = new spdlog::logger("mobula", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern(pattern(""));
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

void set_log_level(LogLevel level) {
  logger().set_level(to_spdlog(level));
}
bool log_enabled(LogLevel level) {
  return logger().should_log(to_spdlog(level));
}
void set_log_prefix(std::string_view prefix) {
  logger().set_pattern(pattern(prefix));
}
void write_log(LogLevel level, std::string_view text) {
  logger().log(to_spdlog(level), text);
}

}  // namespace mobula
