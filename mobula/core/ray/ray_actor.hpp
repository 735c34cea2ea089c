/// An actor of Ray's, as its handles see it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "mobula/core/actor_core.hpp"
#include "mobula/core/ray/ray_connection.hpp"

namespace mobula {

class RayActor final : public ActorCore {
 public:
  RayActor(Engine* engine, ActorOptions options, std::shared_ptr<RayConnection> connection)
      : ActorCore(engine, std::move(options)), connection_(std::move(connection)) {}

  /// Ray's identity of the actor; made with its first call, the constructor's.
  const RayId& id() const noexcept { return id_; }
  void set_id(const RayId& id) noexcept { id_ = id; }
  /// Takes the identity of an actor that another process made, and ends; this one's handles don't count.
  void borrow(const RayId& id) noexcept {
    id_ = id;
    borrowed_ = true;
  }
  bool alive() noexcept override { return !killed_.load(std::memory_order_acquire) && !gone_.load(); }
  /// Tells whether it was killed, rather than lost.
  bool killed() const noexcept { return killed_.load(std::memory_order_acquire); }
  /// Notes that a call has failed because its worker died. Ray may go on sending calls there for a while.
  void suspect() noexcept { suspected_.store(true, std::memory_order_release); }
  /// Asks Ray whether a suspected actor is gone for good; it is not alive() then.
  void note_whether_gone();
  /// Where it was suspected, waits until Ray has made it anew or given it up.
  void await_restart();
  /// Keeps the order of calls that are made again; calls that may be are kept in `pending` meanwhile, oldest first, with
  /// one reference each.
  std::mutex order;
  std::deque<Task*> pending;
  /// Notes that calls fail from now on. Returns whether it was alive.
  bool mark_killed() noexcept { return !killed_.exchange(true); }

 private:
  /// Gives this process's reference back; Ray lets the actor make the calls it has been sent, and ends it with the last.
  void abandon() noexcept override;

  std::shared_ptr<RayConnection> connection_;
  RayId id_{};
  bool borrowed_ = false;
  std::atomic<bool> killed_{false};
  std::atomic<bool> suspected_{false};
  std::atomic<bool> gone_{false};
  std::int64_t num_restarts_ = 0;
};

}  // namespace mobula
