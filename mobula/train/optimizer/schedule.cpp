#include "mobula/train/optimizer/schedule.hpp"

#include <cmath>
#include <numbers>

namespace mobula::train {

double CosineSchedule::rate(std::int64_t step) const {
  if (step <= warmup) return peak * static_cast<double>(step) / static_cast<double>(warmup);
  if (step >= end) return floor;
  const double share = static_cast<double>(step - warmup) / static_cast<double>(end - warmup);
  return floor + 0.5 * (1 + std::cos(std::numbers::pi * share)) * (peak - floor);
}

}  // namespace mobula::train
