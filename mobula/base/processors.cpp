#include "mobula/base/processors.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#include "mobula/base/control_group.hpp"

namespace mobula {
namespace {

namespace fs = std::filesystem;

// Returns how many processors' time a group's folder allows; "max" and -1 stand for no limit.
double quota_of(const fs::path& folder, int version) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  double quota = 0, period = 0;
  if (version == 2) {
    std::ifstream in(folder / "cpu.max");
    if (!(in >> quota >> period)) return kNone;
  } else {
    std::ifstream quotas(folder / "cpu.cfs_quota_us"), periods(folder / "cpu.cfs_period_us");
    if (!(quotas >> quota) || !(periods >> period)) return kNone;
  }
  return quota > 0 && period > 0 ? quota / period : kNone;
}

}  // namespace

int num_processors(const fs::path& root) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  // More processors than the set has room for: then the quota alone counts.
  const int usable = ::sched_getaffinity(0, sizeof allowed, &allowed) == 0
                         ? CPU_COUNT(&allowed)
                         : static_cast<int>(std::thread::hardware_concurrency());
  double least = usable;
  for (const ControlGroup& group : control_groups("cpu", root)) {
    for (const fs::path& folder : group.folders()) least = std::min(least, std::ceil(quota_of(folder, group.version)));
  }
  return std::max(1, static_cast<int>(least));
}

}  // namespace mobula
