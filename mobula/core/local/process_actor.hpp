/// An actor with a worker process of its own.
#pragma once

#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "mobula/core/actor_core.hpp"
#include "mobula/core/local/call_lanes.hpp"
#include "mobula/core/local/process_pool_state.hpp"

namespace mobula {

/// Holds its calls back until their arguments are ready, so that they reach the process in order. Where both are held,
/// the actor's own mutex is taken before the pool's.
class ProcessActor final : public ActorCore {
 public:
  /// `gone`, where there is one, is called when the actor is no more.
  ProcessActor(Engine* engine, ActorOptions options, std::shared_ptr<ProcessPool::State> pool,
               std::function<void()> gone)
      : ActorCore(engine, std::move(options)), pool_(std::move(pool)), gone_(std::move(gone)) {
    if (concurrent()) lanes_.emplace(*this, &argument_ready);
  }
  ~ProcessActor() override {
    if (gone_) gone_();
  }

  /// Gives the actor its lane; before the first call.
  void set_lane(LaneId lane) noexcept { lane_ = lane; }
  LaneId lane() const noexcept { return lane_; }
  /// Makes a call after those made before. Any thread.
  void call(Task* task);
  /// Told of the end of each call of a concurrent actor, before it is released.
  void ended(const Task& call);
  /// Returns the error of every call that comes from now on, or null.
  std::exception_ptr death();
  void die(std::exception_ptr error);
  bool alive() noexcept override { return death() == nullptr; }
  const char* place() const noexcept override { return "process"; }
  /// The constructor's call, to be made again; under the pool's mutex.
  const ProcessCall& constructor() const noexcept { return constructor_; }

 private:
  void abandon() noexcept override;
  static void argument_ready(Waiter* waiter);
  /// Encodes calls in order while their arguments are ready. Adds those that failed before to `ends`.
  void advance(std::vector<CallEnd>& ends);
  /// Encodes the calls that may begin, of a concurrent actor.
  void advance_lanes(std::vector<CallEnd>& ends);
  void begin(Task* task, std::exception_ptr failure, std::vector<CallEnd>& ends);
  void submit(Task* task, std::vector<CallEnd>& ends);

  std::shared_ptr<ProcessPool::State> pool_;
  std::function<void()> gone_;
  LaneId lane_ = 0;
  ProcessCall constructor_;
  std::mutex order_mutex_;
  std::optional<CallLanes> lanes_;  ///< of a concurrent actor, instead of what follows
  std::deque<Task*> waiting_;       ///< not encoded yet, oldest first
  bool argument_missing_ = false;   ///< the oldest one waits for an argument
  std::mutex death_mutex_;
  std::exception_ptr death_;
};

}  // namespace mobula
