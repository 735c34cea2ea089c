#include "mobula/core/ray/ray_actor.hpp"

#include <chrono>
#include <cstdint>
#include <thread>

namespace mobula {
namespace {

/// How long Ray is given to notice a death and to act on it.
constexpr auto kRestartTime = std::chrono::seconds(30);
/// How long news of an actor may take from the head to us.
constexpr auto kNewsTime = std::chrono::milliseconds(300);

}  // namespace

void RayActor::note_whether_gone() {
  bool dead = options().max_restarts == 0;
  if (!dead) {
    std::int64_t num_restarts = 0;
    bool up = false;
    RayFailure failure{};
    connection_->while_open(
        [&](const RayBridge& bridge) { bridge.actor_state(&id_, &num_restarts, &up, &dead, &failure); });
  }
  if (dead) gone_.store(true);
}

void RayActor::await_restart() {
  if (!suspected_.load(std::memory_order_acquire) || options().max_restarts == 0) return;
  const auto deadline = std::chrono::steady_clock::now() + kRestartTime;
  while (std::chrono::steady_clock::now() < deadline) {
    std::int64_t num_restarts = 0;
    bool up = false;
    bool dead = false;
    RayFailure failure{};
    const bool open = connection_->while_open(
        [&](const RayBridge& bridge) { bridge.actor_state(&id_, &num_restarts, &up, &dead, &failure); });
    if (dead) gone_.store(true);
    if (!open || dead || failure.kind != kRayNone) break;
    if (up && num_restarts > num_restarts_) {
      num_restarts_ = num_restarts;
      // The head knows it before this process does, and a call to where the actor was is lost.
      std::this_thread::sleep_for(kNewsTime);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  suspected_.store(false, std::memory_order_release);
}

void RayActor::abandon() noexcept {
  for (Task* task : pending) task->release();
  if (id_.size != 0 && !borrowed_ && !options().detached) {
    connection_->while_open([&](const RayBridge& bridge) { bridge.release_actor(&id_); });
  }
  delete this;
}

}  // namespace mobula
