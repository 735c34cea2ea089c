/// The embedded engine: work-stealing threads of this process, and worker processes where isolation is asked for.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mobula/core/engine.hpp"
#include "mobula/core/local/local_actor.hpp"
#include "mobula/core/local/resource_scheduler.hpp"
#include "mobula/core/local/thread_pool.hpp"

namespace mobula {

class ProcessPool;

class LocalEngine final : public Engine, private ActorHost {
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
  void lend_slot() override;
  void take_slot_back() override;
  bool poll() override;
  bool begin_polling() override;
  void end_polling() override;
  ResourceSet total_resources() const override;
  ResourceSet available_resources() const override;
  std::string name() const override;
  std::vector<pid_t> worker_pids() const override;
  void shutdown() override;

 private:
  void schedule(LocalActor* actor) override;
  bool may_linger() const override;
  void run_call(Task* call) override;
  void fail_call(Task* call, std::exception_ptr error) override;
  void actor_gone(LocalActor* actor) override;

  static void dependency_ready(Waiter* waiter);
  void submit_ready(Task* task);
  void start_with_resources(Task* task);
  void run_job(Job job);
  void drop_job(Job job);
  /// `last`: the thread, a worker, looks for its next job right after this one.
  void run_claimed(Task* task, bool last = false);
  void finish(Task* task, std::exception_ptr failure, bool last = false);
  bool in_process(const Task& task) const;
  ProcessPool& processes();
  /// Everything but a plain slot's one processor.
  static ResourceSet needs(double cpus, double gpus, const std::map<std::string, double>& resources);

  const RuntimeOptions options_;
  ResourceScheduler resources_;
  std::unique_ptr<ThreadPool> threads_;
  ElasticThreads elastic_;
  std::atomic<bool> stopping_{false};
  std::shared_ptr<std::atomic<bool>> alive_ = std::make_shared<std::atomic<bool>>(true);  ///< actors may outlive us
  std::mutex processes_mutex_;
  std::unique_ptr<ProcessPool> processes_;
  std::atomic<ProcessPool*> started_processes_{nullptr};
};

}  // namespace mobula
