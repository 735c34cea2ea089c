/// Learning rates over the steps of a run.
#pragma once

#include <cstdint>

namespace mobula::train {

/// Linear warm-up, then half a cosine down to a floor (Loshchilov and Hutter, "SGDR", ICLR 2017, without restarts).
struct CosineSchedule {
  double peak = 1e-3;
  double floor = 1e-4;
  std::int64_t warmup = 100;
  std::int64_t end = 2000;  ///< step from which the floor holds

  /// Returns the rate of step `step`, counted from 1.
  double rate(std::int64_t step) const;
};

}  // namespace mobula::train
