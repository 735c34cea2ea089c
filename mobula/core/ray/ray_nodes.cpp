// What a cluster has, and what of it is asked for: nodes, resources, placement groups.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <string_view>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/ray/ray_engine.hpp"
#include "mobula/core/ray/ray_placement.hpp"

namespace mobula {

std::vector<NodeInfo> RayEngine::nodes() const {
  RayBuffer text{};
  RayFailure failure{};
  connection_->while_open([&](const RayBridge& bridge) { bridge.nodes(&text, &failure); });
  if (failure.kind != kRayNone) throw_ray_failure(failure, "the cluster's nodes can't be listed");
  std::vector<NodeInfo> nodes;
  if (text.owner == nullptr) return nodes;
  std::istringstream lines(std::string(text.data, text.size));
  connection_->bridge().release(text.owner);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t last = line.rfind(' ');
    if (last == std::string::npos || last == 0) continue;
    if (line[0] == '=') {
      const std::size_t first = line.find(' ');
      if (!nodes.empty()) nodes.back().labels[line.substr(1, first - 1)] = line.substr(first + 1);
      continue;
    }
    const std::size_t first = line.rfind(' ', last - 1);
    if (first == std::string::npos) continue;
    if (line[0] != '+') {
      nodes.push_back({.id = line.substr(0, first),
                       .host = line.substr(first + 1, last - first - 1),
                       .alive = line.substr(last + 1) == "alive"});
      continue;
    }
    std::string name = line.substr(1, first - 1);
    // Each node has a resource of its own name.
    if (nodes.empty() || name.starts_with("node:")) continue;
    if (name.find("_group_") != std::string::npos) continue;  // a placement group's
    if (name == "CPU") name = "cpu";
    if (name == "GPU") name = "gpu";
    nodes.back().total.set(name, std::stod(line.substr(first + 1, last - first)));
    nodes.back().available.set(name, std::stod(line.substr(last + 1)));
  }
  return nodes;
}

ResourceSet RayEngine::resources(bool available) const {
  constexpr std::string_view kStore = "object_store_memory";  // Ray's own, which nobody asks for
  ResourceSet sum;
  for (const NodeInfo& node : nodes()) {
    if (!node.alive) continue;
    for (const auto& [name, amount] : (available ? node.available : node.total).amounts()) {
      if (name != kStore) sum.set(name, sum.get(name) + amount);
    }
  }
  return sum;
}

ResourceSet RayEngine::total_resources() const {
  return resources(false);
}
ResourceSet RayEngine::available_resources() const {
  return resources(true);
}

void RayEngine::check_resources(const ResourceSet& need, const std::string& who) const {
  for (const auto& [name, amount] : need.amounts()) {
    if (amount > Amount{1} && amount.units() % Amount{1}.units() != 0) {
      throw ResourceError(
          fmt::format("{} asks for {} {:g}: Ray gives out whole ones above 1", who, name, amount.value()),
          "round it up, or stay below 1");
    }
  }
  std::lock_guard lock(resources_mutex_);
  if (known_total_.covers(need)) return;
  known_total_ = total_resources();
  if (known_total_.covers(need)) return;
  throw ResourceError(
      fmt::format("{} needs {}; the cluster's nodes have {} in all", who, need.text(), known_total_.text()),
      "ask for less, or add nodes");
}

std::shared_ptr<Reservation> RayEngine::reserve(const std::vector<Bundle>& bundles, const PlacementOptions& options) {
  ResourceSet sum;
  for (const Bundle& bundle : bundles) {
    ResourceSet need;
    for (const auto& [name, amount] : ray_amounts(bundle)) {
      const std::string ours = name == "CPU" ? "cpu" : name == "GPU" ? "gpu" : name;
      need.set(ours, amount);
      sum.set(ours, sum.get(ours) + Amount{amount});
    }
    check_resources(need, "a bundle of a placement group");
  }
  check_resources(sum, "a placement group");
  std::lock_guard lock(groups_mutex_);
  auto made = std::make_shared<RayReservation>(connection_, groups_.size() + 1, bundles, options);
  groups_.emplace(made->id(), made);
  return made;
}

std::shared_ptr<RayReservation> RayEngine::group_of(const BundleRef& bundle) {
  if (bundle.group == 0) return nullptr;
  std::lock_guard lock(groups_mutex_);
  const auto found = groups_.find(bundle.group);
  if (found == groups_.end()) {
    throw Error(ErrorCode::unsupported,
                "a placement group that another process of the cluster has made can't be used here",
                "start what runs in the group from where it was made");
  }
  return found->second;
}

}  // namespace mobula
