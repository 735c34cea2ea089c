/// Sizes and durations as people write them: "256MB", "1.5GiB", "30s", "500ms".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace mobula {

/// Parses a number of bytes: B, kB/KB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers of 1024), or a
/// bare number. Throws Error(invalid_argument) that shows the expected form.
std::uint64_t parse_size(std::string_view text);
/// Formats bytes with three digits at most: "1.5 GB", "512 B".
std::string format_size(std::uint64_t bytes);

/// Parses a duration: ns, us, ms, s, m, h, d; a bare number is seconds. Throws Error(invalid_argument).
std::chrono::nanoseconds parse_duration(std::string_view text);
/// Formats a duration for people: "850 ms", "12.3 s", "4 min 05 s", "2 h 10 min".
std::string format_duration(std::chrono::nanoseconds duration);

}  // namespace mobula
