/// The engine on a Ray cluster: every task, actor and object is one of Ray's, reached through its C++ API.
///
/// Results are asked for where somebody waits for them: nothing runs in this process beside the caller, unless somebody
/// asked to be told (Object::add_waiter), which a thread then looks after.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mobula/core/engine.hpp"
#include "mobula/core/ray/ray_cluster.hpp"
#include "mobula/core/ray/ray_connection.hpp"

namespace mobula {

class RayActor;
class RayReservation;
class RayHandleWriter;

class RayEngine final : public Engine {
 public:
  /// Connects to the cluster at `options.engine` (ray://HOST:PORT), or starts one (ray://local). Throws
  /// Error(unavailable) where there is none, its version differs, or it wants another token.
  explicit RayEngine(const RuntimeOptions& options);
  /// Serves the tasks of a worker, over the connection the worker has.
  explicit RayEngine(const RayBridge& bridge);
  ~RayEngine() override;

  void submit(Task* task) override;
  ActorCore* create_actor(ActorOptions options) override;
  void call(ActorCore* actor, Task* call) override;
  void kill(ActorCore* actor) override;
  bool cancel(Task* task, Cancel how) override;
  std::shared_ptr<const StoredBytes> store(const void* value, EncodeFunction encode) override;
  /// Puts encoded bytes into Ray's store. `handles`: those in them.
  std::shared_ptr<RayObject> store(std::string_view value, const RayHandleWriter& handles);
  /// Returns what Ray knows an object by; one that it does not know is put into its store. Throws the error of one that
  /// has none.
  RayId identity(Object& object);
  const std::shared_ptr<RayConnection>& connection() const noexcept { return connection_; }

  void wait(Object* const* objects, std::size_t count, std::size_t wanted, std::chrono::nanoseconds timeout) override;
  void watch(Object* object) override;
  ActorCore* find_actor(const std::string& name) override;
  void before_wait(Object* object) override;
  void lend_slot() override {}
  void take_slot_back() override {}
  bool poll() override { return false; }
  bool begin_polling() override { return false; }
  void end_polling() override {}

  ResourceSet total_resources() const override;
  ResourceSet available_resources() const override;
  std::vector<NodeInfo> nodes() const override;
  std::shared_ptr<Reservation> reserve(const std::vector<Bundle>& bundles, const PlacementOptions& options) override;
  std::string name() const override { return "ray"; }
  std::vector<pid_t> worker_pids() const override { return {}; }
  void shutdown() override;

 private:
  struct Outgoing;
  Outgoing outgoing(Task& task);
  /// Sends a call that has been sent `times` times before.
  RayId send(Task& task, Outgoing& call, int times);
  RayId send_once(Task& task, Outgoing& call);
  void sent(Task& task, const RayId& result);
  void check_resources(const ResourceSet& need, const std::string& who) const;
  ResourceSet resources(bool available) const;
  void begin();
  /// Returns the group that a bundle is of; null for none. Throws Error(unsupported) for another process's.
  std::shared_ptr<RayReservation> group_of(const BundleRef& bundle);
  bool fetch(Object& object, int timeout_ms);
  void settle(Object& object, const RayBuffer& frame);
  static bool claim(Object& object);
  static void fail(Object& object, std::exception_ptr error);
  /// Sends a task again whose worker died, unless its retries are used up. `id`: what was asked for.
  bool try_again(Task& task, const RayFailure& failure, const RayId& id);
  bool call_again(RayActor& actor, Task& failed, const RayId& id);
  void watch_objects();

  std::unique_ptr<RayCluster> cluster_;
  std::shared_ptr<RayConnection> connection_;
  std::string own_address_;  ///< among Ray's processes
  mutable std::mutex resources_mutex_;
  mutable ResourceSet known_total_;

  std::mutex groups_mutex_;
  std::map<std::uint64_t, std::shared_ptr<RayReservation>> groups_;

  std::mutex watch_mutex_;
  std::condition_variable watch_changed_;
  std::vector<Object*> watched_;
  std::thread watcher_;
  std::atomic<bool> stopping_{false};
};

/// Makes the engine for `ray://...`; in a Ray worker, the one of the worker.
std::unique_ptr<Engine> make_ray_engine(const RuntimeOptions& options);

}  // namespace mobula
