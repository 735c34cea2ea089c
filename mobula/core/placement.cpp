#include "mobula/core/placement.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"

namespace mobula {

BundleRef PlacementGroup::bundle(int index) const {
  if (index < -1 || index >= static_cast<int>(bundles_.size())) {
    throw_invalid(fmt::format("the placement group has {} bundles; there is no bundle {}", bundles_.size(), index),
                  "bundles are counted from 0");
  }
  return {id(), index};
}

const char* to_string(PlacementStrategy strategy) noexcept {
  switch (strategy) {
    case PlacementStrategy::pack:
      return "pack";
    case PlacementStrategy::spread:
      return "spread";
    case PlacementStrategy::strict_pack:
      return "strict_pack";
    case PlacementStrategy::strict_spread:
      return "strict_spread";
  }
  return "pack";
}

}  // namespace mobula
