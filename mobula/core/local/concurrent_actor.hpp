/// An actor of this process whose calls may run at once (ActorOptions::concurrency, groups). Its calls, which are made to
/// wait for something, run on threads of their own, not on the slots of tasks.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "mobula/core/actor_core.hpp"
#include "mobula/core/local/call_lanes.hpp"
#include "mobula/core/resources.hpp"

namespace mobula {

class ConcurrentActor;
/// What such an actor asks of its engine.
class ConcurrentActorHost {
 public:
  virtual ~ConcurrentActorHost() = default;
  /// Runs a call on some thread, to its end, then calls ended() on the actor. Takes over the call's reference.
  virtual void run_call(ConcurrentActor* actor, Task* call, std::exception_ptr failure) = 0;
  virtual void actor_gone(const ResourceSet& held) = 0;
};

class ConcurrentActor final : public ActorCore {
 public:
  /// With resources to hold, calls wait until start() is called.
  ConcurrentActor(Engine* engine, ConcurrentActorHost& host, std::shared_ptr<const std::atomic<bool>> host_alive,
                  ActorOptions options, ResourceSet held);

  /// Makes a call. Any thread.
  void send(Task* call);
  void start();
  void hold_nothing() { held_ = {}; }
  /// Told of each call's end, before the call is released.
  void ended(Task& call);
  /// Makes all calls that have not begun, and all later ones, fail with `error`.
  void kill(std::exception_ptr error);
  bool alive() noexcept override;
  const char* place() const noexcept override { return "thread"; }

 private:
  void abandon() noexcept override;
  static void argument_ready(Waiter* waiter);
  void pump();

  ConcurrentActorHost& host_;
  std::shared_ptr<const std::atomic<bool>> host_alive_;
  ResourceSet held_;
  std::mutex mutex_;
  CallLanes lanes_;
  std::exception_ptr death_;
  bool started_;
};

}  // namespace mobula
