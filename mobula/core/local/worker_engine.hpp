/// The engine of a worker process: tasks, actors and objects that code in it makes live in the main process, which every
/// process asks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "mobula/core/engine.hpp"
#include "mobula/core/handles.hpp"
#include "mobula/core/local/frames.hpp"
#include "mobula/core/local/shared_arena.hpp"
#include "mobula/core/local/worker_protocol.hpp"

namespace mobula {

/// What the engine needs of the process that it is in.
struct WorkerSite {
  int socket = -1;
  std::uint32_t serial = 0;      ///< tells its numbers from those of other workers
  SharedArena* arena = nullptr;  ///< borrowed
  bool lends = false;            ///< another worker takes over while its task waits
  /// Runs the call of that number here if no worker has begun it; returns whether it did.
  std::function<bool(std::uint64_t id)> run_here;
  /// Returns who the running call is and by whom it was called, for errors.
  std::function<std::string()> caller;
};
/// Says where this process's Runtime finds the main process; before the Runtime is made. Null elsewhere.
void set_worker_site(const WorkerSite* site) noexcept;
const WorkerSite* worker_site() noexcept;

class WorkerEngine final : public Engine, public HandleReader {
 public:
  explicit WorkerEngine(const WorkerSite& site);
  ~WorkerEngine() override = default;

  void submit(Task* task) override;
  ActorCore* create_actor(ActorOptions options) override;
  void call(ActorCore* actor, Task* call) override;
  void kill(ActorCore* actor) override;
  bool cancel(Task* task, Cancel how) override;
  std::shared_ptr<const StoredBytes> store(const void* value, EncodeFunction encode) override;
  ActorCore* find_program_actor(const std::string& name, const std::string& type) override;
  void before_wait(Object* object) override;
  void run_awaited(Object* object) override;
  void before_wait_any(Object* const* objects, std::size_t count) override;
  void lend_slot() override;
  void take_slot_back() override;
  bool remote() const noexcept override { return true; }
  bool poll() override { return false; }
  bool begin_polling() override { return false; }
  void end_polling() override {}
  ResourceSet total_resources() const override;
  ResourceSet available_resources() const override;
  std::string name() const override { return "local"; }
  std::vector<pid_t> worker_pids() const override { return {}; }
  void shutdown() override {}

  Object* object(std::uint64_t id, const char* type, Object* (*make)(Engine* engine)) override;
  ActorCore* actor(std::uint64_t id) override;

  /// Handles that came with a call's arguments. The call holds them; what is still there at its end counts from then on.
  struct CallNotes {
    std::vector<std::uint64_t> objects;
    std::vector<std::uint64_t> actor_ids;
    std::vector<ActorCore*> actors;
  };
  /// Between begin_call() and end_arguments() what is read comes with a call's arguments. Returns the notes of the call
  /// around it.
  static CallNotes begin_call();
  static void end_arguments() noexcept { in_arguments_ = false; }
  /// Returns the handles that outlive the call, to be told to the main process with its result, which stands on the
  /// `num_frames` sent so far. `notes`: those of the call around it, exchanged for those of this one.
  std::vector<std::uint64_t> report_call(CallNotes& notes, std::uint64_t& num_frames);
  /// After the result has been shown.
  static void end_call(const CallNotes& notes) noexcept;

  /// Returns an object's number, telling the main process of it where it is new there.
  std::uint64_t number(Object& object);
  std::uint64_t number(ActorCore& actor);
  /// Sets a block aside; the main process makes room for it. Throws OutOfMemoryError.
  std::uint64_t allocate(std::uint64_t bytes);
  void send(FromWorker kind, const WireWriter& payload);
  void send_id(FromWorker kind, std::uint64_t id) noexcept;
  /// Brings an object's bytes into memory; returns where they are. Throws what the main process's pin() throws.
  std::uint64_t pin(std::uint64_t id);

 private:
  struct Known {
    Object* object = nullptr;  ///< not counted, but for a task of a group
    bool counted = true;       ///< the main process counts us as a holder
    bool wanted = false;
    bool answered = false;  ///< the main process has said that it is pending, or its value
    bool kept = false;      ///< counted here until it is complete
  };
  struct Reply {
    bool come = false;
    std::string payload;
  };

  static void forget(Object* object);
  /// Tells the main process that the running call waits for an object, however long it takes.
  static void tell_wait(Object& object);
  void add(std::uint64_t id, Known known);
  void send_call(FromWorker kind, std::uint64_t actor, Task* task);
  void want(Object* object, bool wait_for_answer);
  void receive();
  void take_value(WireReader& in);
  std::string request(FromWorker kind, const WireWriter& payload, std::uint64_t id);
  std::uint64_t next_request();
  ResourceSet ask_resources(bool available) const;

  const WorkerSite& site_;
  std::mutex send_mutex_;
  std::atomic<std::uint64_t> num_sent_{0};  ///< frames; written under send_mutex_
  mutable std::mutex mutex_;                ///< guards what follows
  std::condition_variable changed_;
  std::unordered_map<std::uint64_t, Known> known_;
  std::unordered_map<const Object*, std::uint64_t> ids_;
  std::unordered_map<std::uint64_t, Reply> replies_;
  std::uint64_t next_id_;
  std::uint64_t next_request_ = 1;
  int num_waiting_ = 0;
  static thread_local bool in_arguments_;
  static thread_local CallNotes notes_;  ///< of the call that this thread runs
  std::thread reader_;
};

}  // namespace mobula
