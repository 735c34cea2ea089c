/// This process's connection to a Ray cluster, and the objects that lie there.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>

#include "mobula/core/object.hpp"
#include "mobula/core/ray/bridge.h"

namespace mobula {

class ActorCore;
class Engine;

/// Loads the plug-in that speaks to Ray, once. Throws Error(unavailable) that says what to install.
const RayBridge& load_ray_bridge();
/// Returns the plug-in's path.
std::string ray_bridge_path();
/// Throws the error that fits a failure; `who` is what was being done, for its message.
[[noreturn]] void throw_ray_failure(const RayFailure& failure, const std::string& who);

/// The connection, shared by all that must not use it after its end.
class RayConnection {
 public:
  RayConnection(const RayBridge& bridge, bool owned) : bridge_(bridge), owned_(owned) {}
  RayConnection(const RayConnection&) = delete;
  RayConnection& operator=(const RayConnection&) = delete;
  ~RayConnection() { close(); }

  const RayBridge& bridge() const noexcept { return bridge_; }
  /// The engine that made it; objects that come over it are that one's.
  Engine* engine() const noexcept { return engine_; }
  void set_engine(Engine* engine) noexcept { engine_ = engine; }
  /// Does `work(bridge)` unless the connection is closed, and keeps it open meanwhile.
  template <class Work>
  bool while_open(const Work& work) const {
    std::shared_lock lock(mutex_);
    if (closed_) return false;
    work(bridge_);
    return true;
  }
  void close();

 private:
  const RayBridge& bridge_;
  Engine* engine_ = nullptr;
  bool owned_;  ///< false in Ray's workers: the connection is the worker's own
  mutable std::shared_mutex mutex_;
  bool closed_ = false;
};

/// An object in Ray's store, with one reference to it. Its bytes are brought here when somebody asks, once.
class RayObject final : public StoredBytes {
 public:
  /// Takes over one reference to `id`.
  RayObject(std::shared_ptr<RayConnection> connection, const RayId& id) : connection_(std::move(connection)), id_(id) {}
  ~RayObject() override;

  RayId id() const;
  /// Gives the object another identity: its task was submitted again. Takes over one reference.
  void replace(const RayId& id);
  /// Keeps an actor whose call makes the object until the call has ended. Takes over one reference.
  void keep_actor(ActorCore* actor) noexcept { actor_.store(actor); }
  void drop_actor() noexcept;
  /// Notes that somebody completes the object; returns whether it is the first.
  bool claim() noexcept { return !claimed_.exchange(true); }
  /// When its task's time is up; max() where it has none. Set before anybody else knows the object.
  std::chrono::steady_clock::time_point deadline() const noexcept { return deadline_; }
  void set_deadline(std::chrono::steady_clock::time_point deadline) noexcept { deadline_ = deadline; }
  /// Counts how often the task that makes it was sent.
  int num_attempts() const noexcept { return num_attempts_; }
  void count_attempt() noexcept { ++num_attempts_; }
  /// Keeps bytes that have been brought here.
  void keep(const RayBuffer& frame) const;
  /// Returns the value's bytes, brought here where they are not. Throws ObjectLostError where Ray has lost them.
  PinnedBytes pin() const override;
  /// Returns the size of bytes that are here; 0 of others.
  std::size_t size() const noexcept override;

 private:
  std::shared_ptr<RayConnection> connection_;
  mutable std::mutex mutex_;
  RayId id_;
  struct Frame;
  mutable std::shared_ptr<const Frame> frame_;
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::time_point::max();
  std::atomic<int> num_attempts_{1};
  std::atomic<ActorCore*> actor_{nullptr};
  std::atomic<bool> claimed_{false};
};

/// Tells whether an object's bytes are ours: Ray's C++ API hands some of its errors over as if they were values.
bool is_ray_frame(std::string_view frame);
/// Returns the error that an object's bytes hold in place of a value, or null.
std::exception_ptr ray_frame_error(std::string_view frame);
/// Returns the value's bytes of an object without error.
std::string_view ray_frame_value(std::string_view frame);
/// Returns the table of the handles in an object's value; empty where there are none.
std::string_view ray_frame_handles(std::string_view frame);
/// Returns the mark that starts an object's bytes.
std::string ray_frame(RayFrame kind);

}  // namespace mobula
