/// The embedded engine: work-stealing threads of this process, and worker processes where isolation is asked for.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mobula/core/engine.hpp"
#include "mobula/core/local/concurrent_actor.hpp"
#include "mobula/core/local/local_actor.hpp"
#include "mobula/core/local/placement_groups.hpp"
#include "mobula/core/local/resource_scheduler.hpp"
#include "mobula/core/local/thread_pool.hpp"

namespace mobula {

class ProcessPool;
class Recorder;

class LocalEngine final : public Engine, private ActorHost, private ConcurrentActorHost {
 public:
  explicit LocalEngine(RuntimeOptions options);
  ~LocalEngine() override;

  void submit(Task* task) override;
  ActorCore* create_actor(ActorOptions options) override;
  void call(ActorCore* actor, Task* call) override;
  void kill(ActorCore* actor) override;
  bool cancel(Task* task, Cancel how) override;
  std::shared_ptr<const StoredBytes> store(const void* value, EncodeFunction encode) override;
  void before_wait(Object* object) override;
  void run_awaited(Object* object) override;
  void lend_slot() override;
  void take_slot_back() override;
  bool poll() override;
  bool begin_polling() override;
  void end_polling() override;
  ResourceSet total_resources() const override;
  ResourceSet available_resources() const override;
  std::vector<NodeInfo> nodes() const override;
  std::shared_ptr<Reservation> reserve(const std::vector<Bundle>& bundles, const PlacementOptions& options) override;
  std::string name() const override;
  std::vector<pid_t> worker_pids() const override;
  void fill_state(EngineState& state) const override;
  void record(bool on, bool keep_events) override;
  std::string timeline() const override;
  void shutdown() override;

 private:
  static constexpr std::uint8_t kStopping = 1;
  static constexpr std::uint8_t kRecording = 2;
  bool stopping() const noexcept { return (mode_.load(std::memory_order_relaxed) & kStopping) != 0; }

  void schedule(LocalActor* actor) override;
  bool may_linger() const override;
  void run_call(Task* call) override;
  void fail_call(Task* call, std::exception_ptr error) override;
  void actor_gone(LocalActor* actor) override;
  void run_call(ConcurrentActor* actor, Task* call, std::exception_ptr failure) override;
  void actor_gone(const ResourceSet& held) override;
  /// Makes an actor of this process; calls wait until its resources are set aside.
  template <class Local>
  ActorCore* make_local_actor(ActorOptions options, const ResourceSet& need);

  static void dependency_ready(Waiter* waiter);
  void submit_ready(Task* task);
  void start_with_resources(Task* task);
  void run_job(Job job);
  void drop_job(Job job);
  /// `last`: the thread, a worker, looks for its next job right after this one.
  void run_claimed(Task* task, bool last = false);
  /// Calls the function, as often as the options say. Returns its error, or null.
  std::exception_ptr invoke(Task* task);
  void finish(Task* task, std::exception_ptr failure, bool last = false);
  bool in_process(const Task& task) const;
  bool in_process(Isolation isolation) const;
  ProcessPool& processes();
  /// Refuses what this machine can never do, and returns what is to be set aside.
  template <class Options>
  ResourceSet check_options(const Options& options, const std::string& who);
  /// Of a task with options: whether its end may be told now. False where it has been told, or it runs again.
  bool may_end(Task* task, const std::exception_ptr& failure);
  /// Ends the wait for a task whose time is up.
  void expire(Task* task);
  void process_task_ended(Task* task, std::exception_ptr failure);
  bool wants_retry(const Task& task, const std::exception_ptr& failure) const;

  const RuntimeOptions options_;
  const Labels labels_;
  const std::shared_ptr<ResourceScheduler> resources_;
  PlacementGroups groups_{resources_};
  Timer timer_;
  std::unique_ptr<ThreadPool> threads_;
  ElasticThreads elastic_;
  /// What a task's start must look at, in one access: 0 but for kStopping and kRecording.
  std::atomic<std::uint8_t> mode_{0};
  std::atomic<Recorder*> recorder_{nullptr};
  std::unique_ptr<Recorder> owned_recorder_;  ///< once made, it lasts
  std::mutex recorder_mutex_;
  std::shared_ptr<std::atomic<bool>> alive_ = std::make_shared<std::atomic<bool>>(true);  ///< actors may outlive us
  std::mutex processes_mutex_;
  std::unique_ptr<ProcessPool> processes_;
  std::atomic<ProcessPool*> started_processes_{nullptr};
};

}  // namespace mobula
