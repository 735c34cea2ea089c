/// Placement groups of Ray's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "mobula/core/placement.hpp"
#include "mobula/core/ray/ray_connection.hpp"

namespace mobula {

class RayReservation final : public Reservation {
 public:
  /// Asks Ray for the group. `number`: what the program knows it by. Throws Error(unavailable).
  RayReservation(std::shared_ptr<RayConnection> connection, std::uint64_t number, const std::vector<Bundle>& bundles,
                 const PlacementOptions& options);

  std::uint64_t id() const noexcept override { return number_; }
  const RayId& ray_id() const noexcept { return id_; }
  bool wait(std::chrono::nanoseconds timeout) override;
  bool ready() override;
  void remove() override;

 private:
  bool ask(int seconds);

  std::shared_ptr<RayConnection> connection_;
  std::uint64_t number_;
  RayId id_{};
  std::atomic<bool> removed_{false};
};

/// Returns what a bundle sets aside, by Ray's names.
std::vector<std::pair<std::string, double>> ray_amounts(const Bundle& bundle);

}  // namespace mobula
