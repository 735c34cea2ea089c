/// The seed of tests that draw what they try afresh at each run. For tests.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace mobula {

/// Returns $MOBULA_TEST_SEED, or a seed drawn afresh (below a million), and prints it, so that a failure can be seen again.
inline std::uint64_t drawn_seed() {
  const char* fixed = std::getenv("MOBULA_TEST_SEED");
  const std::uint64_t seed = fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : std::random_device()() % 1000000;
  std::printf("MOBULA_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  return seed;
}

}  // namespace mobula
