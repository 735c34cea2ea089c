/// How many random cases a property test tries, and from which seed on. For tests.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace mobula::data {

/// Seeds [begin, end). A failure under seed s is seen again with MOBULA_PROPERTY_FIRST=s MOBULA_PROPERTY_CASES=1.
struct PropertySeeds {
  std::uint64_t begin;
  std::uint64_t end;
};

/// Returns the seeds to try and prints them: `cases` of them, or what the environment's MOBULA_PROPERTY_CASES says, from
/// MOBULA_PROPERTY_FIRST (0) on.
inline PropertySeeds property_seeds(std::uint64_t cases) {
  const char* first = std::getenv("MOBULA_PROPERTY_FIRST");
  const char* number = std::getenv("MOBULA_PROPERTY_CASES");
  const std::uint64_t begin = first == nullptr ? 0 : std::strtoull(first, nullptr, 10);
  const std::uint64_t end = begin + (number == nullptr ? cases : std::strtoull(number, nullptr, 10));
  fmt::print("seeds {} to {}\n", begin, end - 1);
  return {begin, end};
}

}  // namespace mobula::data
