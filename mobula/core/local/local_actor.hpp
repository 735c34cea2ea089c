/// An actor whose object lives in this process: a queue of calls that any worker thread may take over for a while.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>

#include "mobula/core/actor_core.hpp"
#include "mobula/core/resources.hpp"

namespace mobula {

class LocalActor;
/// What an actor asks of its engine.
class ActorHost {
 public:
  virtual ~ActorHost() = default;
  /// Runs the actor's calls soon: calls run() on it.
  virtual void schedule(LocalActor* actor) = 0;
  /// Tells whether the calling thread has nothing better to do than to wait a moment for another call.
  virtual bool may_linger() const = 0;
  /// Runs one call to its end and completes it. Takes over its reference.
  virtual void run_call(Task* call) = 0;
  /// Fails one call. Takes over its reference.
  virtual void fail_call(Task* call, std::exception_ptr error) = 0;
  /// Told when an actor with resources is gone.
  virtual void actor_gone(LocalActor* actor) = 0;
};

class LocalActor final : public ActorCore {
 public:
  /// With resources to hold, calls queue up until start() is called.
  /// `host_alive` says whether the host is still there when the last handle goes.
  LocalActor(Engine* engine, ActorHost& host, std::shared_ptr<const std::atomic<bool>> host_alive, ActorOptions options,
             ResourceSet held);

  LocalActor* local() noexcept override { return this; }
  /// Adds a call; schedules the actor where it was idle. Any thread.
  void send(Task* call);
  void start();
  /// Runs calls in order until none is left, one has to wait for an argument, or it is others' turn.
  void run();
  /// Makes all calls that have not begun, and all later ones, fail with `error`.
  void kill(std::exception_ptr error);
  /// Returns what the actor keeps for as long as it lives.
  const ResourceSet& held() const noexcept { return held_; }
  /// Notes that it was never set aside, before start().
  void hold_nothing() { held_ = {}; }
  bool alive() noexcept override { return !dead_.load(std::memory_order_acquire); }
  const char* place() const noexcept override { return "thread"; }

 private:
  void abandon() noexcept override;
  Task* next_call();
  bool become_idle();
  void linger() const;
  std::exception_ptr death();
  static void argument_ready(Waiter* waiter);

  static Task* idle_mark() { return reinterpret_cast<Task*>(std::uintptr_t{1}); }

  ActorHost& host_;
  std::shared_ptr<const std::atomic<bool>> host_alive_;
  /// The newest call, linked to the older ones; null: none, but scheduled; idle_mark(): none.
  alignas(64) std::atomic<Task*> inbox_;
  /// The oldest call taken from the inbox, linked to the newer ones. Belongs to who runs the actor.
  alignas(64) Task* taken_ = nullptr;
  ResourceSet held_;
  std::atomic<bool> dead_{false};
  std::mutex mutex_;
  std::exception_ptr death_;
};

}  // namespace mobula
