/// An actor as the engines see it.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string>

#include "mobula/core/options.hpp"
#include "mobula/core/task.hpp"

namespace mobula {

class LocalActor;

/// An object that is called by one thread at a time, in the order of the calls. Counted by its handles and its queue.
class ActorCore {
 public:
  ActorCore(Engine* engine, ActorOptions options) : options_(std::move(options)), engine_(engine) {}
  ActorCore(const ActorCore&) = delete;
  ActorCore& operator=(const ActorCore&) = delete;

  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    forget();
    abandon();
  }
  Engine* engine() const noexcept { return engine_; }
  /// Returns the actor where its object lives in a thread of this process, else null.
  virtual LocalActor* local() noexcept { return nullptr; }
  const ActorOptions& options() const noexcept { return options_; }
  /// Returns the name for people: the given one, or the class's.
  const std::string& title() const noexcept { return title_; }
  /// Sets it, once, after which for_each() shows the actor.
  void set_title(std::string title);
  /// Calls `visit` with every living actor of an engine; none of them ends meanwhile.
  static void for_each(const Engine* engine, const std::function<void(ActorCore&)>& visit);
  /// Tells where the object lives: "thread", "process" or "cluster".
  virtual const char* place() const noexcept { return "cluster"; }
  /// Tells whether calls can still succeed.
  virtual bool alive() noexcept { return true; }
  /// Returns the number of a concurrency group: 0 for "", the default, then those of the options by name. Throws
  /// Error(invalid_argument) where there is no such group.
  std::size_t lane_of(const std::string& group) const;
  /// Returns how many calls of a lane may run at once.
  int lane_width(std::size_t lane) const;
  /// Returns how many calls may run at once in all.
  int num_calls_at_once() const;
  std::size_t num_lanes() const noexcept { return options_.groups.size() + 1; }
  /// Tells whether calls may run at once.
  bool concurrent() const noexcept { return options_.concurrency > 1 || !options_.groups.empty(); }
  /// Returns the object; the running call's own thread only.
  void* instance() const noexcept { return instance_; }
  void set_instance(void* instance, void (*destroy)(void*)) noexcept {
    instance_ = instance;
    destroy_instance_ = destroy;
  }
  /// Destroys the object before the actor's own end; in a call, with none other running.
  void end_instance() noexcept { destroy_instance(); }

 protected:
  virtual ~ActorCore() { destroy_instance(); }
  /// Called when the last handle is gone.
  virtual void abandon() noexcept = 0;
  void destroy_instance() noexcept {
    if (instance_ != nullptr) destroy_instance_(instance_);
    instance_ = nullptr;
  }

 private:
  /// Takes the actor off the list of for_each().
  void forget() noexcept;

  std::atomic<std::uint32_t> references_{1};
  ActorOptions options_;
  Engine* engine_;
  std::string title_;
  void* instance_ = nullptr;
  void (*destroy_instance_)(void*) = nullptr;
};

}  // namespace mobula
