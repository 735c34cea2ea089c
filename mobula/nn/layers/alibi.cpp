#include "mobula/nn/layers/alibi.hpp"

#include <cmath>

namespace mobula::nn {

std::vector<float> alibi_slopes(std::int64_t num_heads) {
  std::int64_t power = 1;
  while (power * 2 <= num_heads) power *= 2;
  const double base = std::pow(2.0, -std::pow(2.0, -(std::log2(static_cast<double>(power)) - 3.0)));
  std::vector<float> slopes;
  for (std::int64_t i = 1; i <= power; ++i) {
    slopes.push_back(static_cast<float>(std::pow(base, static_cast<double>(i))));
  }
  // Heads beyond a power of two take every second slope of the next one.
  const double finer = std::pow(2.0, -std::pow(2.0, -(std::log2(2.0 * static_cast<double>(power)) - 3.0)));
  for (std::int64_t i = 0; i < num_heads - power; ++i) {
    slopes.push_back(static_cast<float>(std::pow(finer, static_cast<double>(2 * i + 1))));
  }
  return slopes;
}

}  // namespace mobula::nn
