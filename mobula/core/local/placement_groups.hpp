/// Placement groups on one machine. A bundle that has been set aside is a resource like any other, under a name of its own
/// ("cpu@3.0": processors of group 3's bundle 0), so what runs in it is scheduled by the same rules.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mobula/core/local/resource_scheduler.hpp"
#include "mobula/core/placement.hpp"
#include "mobula/core/resources.hpp"

namespace mobula {

/// Returns what something with these options takes, under the machine's own names.
template <class Options>
ResourceSet requirement(const Options& options) {
  ResourceSet need;
  need.set("cpu", options.cpus);
  need.set("gpu", options.gpus);
  need.set("memory", static_cast<double>(options.memory));
  for (const auto& [name, amount] : options.resources) need.set(name, amount);
  return need;
}

/// All placement groups of an engine. Thread-safe. The groups share the scheduler with it.
class PlacementGroups {
 public:
  explicit PlacementGroups(std::shared_ptr<ResourceScheduler> scheduler) : scheduler_(std::move(scheduler)) {}

  /// Begins to set a group aside. Throws ResourceError where this machine can never hold it.
  std::shared_ptr<Reservation> reserve(const std::vector<Bundle>& bundles, const PlacementOptions& options);
  /// Returns `need` as what the bundle holds it under; without a bundle, as it is. Throws ResourceError where the bundle
  /// is too small, Error(invalid_argument) where there is no such group; `who` names the asker.
  ResourceSet translate(const ResourceSet& need, BundleRef placement, const std::string& who);

 private:
  class Group;
  std::shared_ptr<ResourceScheduler> scheduler_;
  std::mutex mutex_;
  std::map<std::uint64_t, std::shared_ptr<Group>> groups_;  ///< until they are removed
  std::uint64_t next_ = 1;
  std::uint64_t turn_ = 0;  ///< where the search for a bundle with room begins
};

}  // namespace mobula
