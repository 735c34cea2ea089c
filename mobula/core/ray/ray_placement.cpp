#include "mobula/core/ray/ray_placement.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/core/errors.hpp"

namespace mobula {

using Clock = std::chrono::steady_clock;

std::vector<std::pair<std::string, double>> ray_amounts(const Bundle& bundle) {
  std::vector<std::pair<std::string, double>> amounts(bundle.resources.begin(), bundle.resources.end());
  if (bundle.cpus > 0) amounts.emplace_back("CPU", bundle.cpus);
  if (bundle.gpus > 0) amounts.emplace_back("GPU", bundle.gpus);
  if (bundle.memory > 0) amounts.emplace_back("memory", static_cast<double>(bundle.memory));
  return amounts;
}

RayReservation::RayReservation(std::shared_ptr<RayConnection> connection, std::uint64_t number,
                               const std::vector<Bundle>& bundles, const PlacementOptions& options)
    : connection_(std::move(connection)), number_(number) {
  std::vector<std::vector<std::pair<std::string, double>>> named;
  std::vector<std::vector<RayResource>> amounts;
  for (const Bundle& bundle : bundles) named.push_back(ray_amounts(bundle));
  for (const auto& bundle : named) {
    amounts.emplace_back();
    for (const auto& [name, amount] : bundle) amounts.back().push_back({name.c_str(), amount});
  }
  std::vector<const RayResource*> starts;
  std::vector<std::size_t> sizes;
  for (const auto& bundle : amounts) {
    starts.push_back(bundle.data());
    sizes.push_back(bundle.size());
  }
  RayFailure failure{};
  const bool open = connection_->while_open([&](const RayBridge& bridge) {
    bridge.create_placement_group(options.name.c_str(), static_cast<int>(options.strategy), starts.data(), sizes.data(),
                                  starts.size(), &id_, &failure);
  });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "do this before shutdown()");
  if (failure.kind != kRayNone) throw_ray_failure(failure, "a placement group can't be made");
}

bool RayReservation::ask(int seconds) {
  if (removed_) throw ResourceError("the placement group has been removed", "make another one");
  bool ready = false;
  RayFailure failure{};
  const bool open = connection_->while_open(
      [&](const RayBridge& bridge) { bridge.wait_placement_group(&id_, seconds, &ready, &failure); });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "do this before shutdown()");
  return failure.kind == kRayNone && ready;
}

bool RayReservation::wait(std::chrono::nanoseconds timeout) {
  const auto now = Clock::now();
  const auto deadline =
      timeout.count() < 0 || timeout > Clock::time_point::max() - now ? Clock::time_point::max() : now + timeout;
  do {
    if (ask(1)) return true;  // Ray counts in seconds
  } while (Clock::now() < deadline);
  return false;
}

bool RayReservation::ready() {
  return ask(1);
}

void RayReservation::remove() {
  if (removed_.exchange(true)) return;
  RayFailure failure{};
  connection_->while_open([&](const RayBridge& bridge) { bridge.remove_placement_group(&id_, &failure); });
  if (failure.kind != kRayNone) throw_ray_failure(failure, "a placement group can't be removed");
}

}  // namespace mobula
