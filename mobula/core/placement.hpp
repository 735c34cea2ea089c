/// Placement groups: bundles of resources that are set aside together, all or none, for tasks and actors to run on.
///
///     PlacementGroup group = rt.placement_group({{.cpus = 1}, {.cpus = 1, .gpus = 1}});
///     group.wait(10s);
///     rt.with(TaskOptions{.gpus = 1, .placement = group.bundle(1)}).remote<train>(...);
///     group.remove();
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mobula/core/options.hpp"

namespace mobula {

/// Resources that lie on one node.
struct Bundle {
  double cpus = 0;
  double gpus = 0;
  std::uint64_t memory = 0;
  std::map<std::string, double> resources;
};

/// How bundles spread over nodes.
enum class PlacementStrategy {
  pack,           ///< on as few nodes as possible
  spread,         ///< on as many nodes as possible
  strict_pack,    ///< on one node, or not at all
  strict_spread,  ///< each on a node of its own, or not at all
};

struct PlacementOptions {
  PlacementStrategy strategy = PlacementStrategy::pack;
  std::string name;  ///< for people
};

/// What an engine has set aside, or is about to.
class Reservation {
 public:
  virtual ~Reservation() = default;
  virtual std::uint64_t id() const noexcept = 0;
  /// Waits until everything is set aside; returns false where the timeout (negative: none) passed first. Throws where the
  /// group has been removed.
  virtual bool wait(std::chrono::nanoseconds timeout) = 0;
  virtual bool ready() = 0;
  /// Gives everything back: what waits to run in the group fails, what runs goes on to its end first.
  virtual void remove() = 0;
};

/// Handle on a placement group; copies are cheap. The group lasts until remove() or the runtime's end.
class PlacementGroup {
 public:
  PlacementGroup(std::shared_ptr<Reservation> reservation, std::vector<Bundle> bundles)
      : reservation_(std::move(reservation)), bundles_(std::move(bundles)) {}

  /// Waits until all bundles are set aside. Returns false where the timeout passed first; the group goes on waiting.
  bool wait(std::chrono::nanoseconds timeout = std::chrono::nanoseconds(-1)) const {
    return reservation_->wait(timeout);
  }
  bool ready() const { return reservation_->ready(); }
  /// Gives everything back: tasks that wait to run in the group fail with ResourceError, those that run end first.
  void remove() const { reservation_->remove(); }

  /// Names bundle `index` for TaskOptions::placement; without an index whichever has room. Throws Error(invalid_argument)
  /// for an index that the group lacks.
  BundleRef bundle(int index = -1) const;
  const std::vector<Bundle>& bundles() const noexcept { return bundles_; }
  std::uint64_t id() const noexcept { return reservation_->id(); }

 private:
  std::shared_ptr<Reservation> reservation_;
  std::vector<Bundle> bundles_;
};

/// Returns the strategy's spelling, such as "strict_pack".
const char* to_string(PlacementStrategy strategy) noexcept;

}  // namespace mobula
