#include "mobula/core/local/local_engine.hpp"

#include <fmt/format.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "mobula/base/log.hpp"
#include "mobula/base/size.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/local/futex.hpp"
#include "mobula/core/local/process_pool.hpp"
#include "mobula/core/local/worker_engine.hpp"
#include "mobula/core/ray/ray_engine.hpp"
#include "mobula/core/recorder.hpp"
#include "mobula/core/task_group.hpp"

namespace mobula {
namespace {

constexpr Job kActorBit = 1;
/// Tasks that run on top of one another because each waits for the next.
constexpr int kMaxInlineDepth = 64;

thread_local int inline_depth = 0;
/// Resources of the work that runs on this thread outside the pool, to be lent while it waits.
thread_local const ResourceSet* held_resources = nullptr;

ResourceSet machine(const RuntimeOptions& options) {
  ResourceSet total;
  total.set("cpu", options.num_cpus);
  total.set("gpu", options.num_gpus);
  struct sysinfo machine {};
  sysinfo(&machine);
  // What objects may take is not tasks' own.
  const double bytes = static_cast<double>(machine.totalram) * machine.mem_unit;
  total.set("memory", std::max(0.0, bytes - static_cast<double>(options.memory)));
  for (const auto& [name, amount] : options.resources) total.set(name, amount);
  return total;
}

Labels labels_of(const RuntimeOptions& options) {
  Labels labels = options.labels;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  labels.try_emplace("host", host);
  return labels;
}

std::string text_of(const Labels& labels) {
  std::string text;
  for (const auto& [name, value] : labels) text += (text.empty() ? "" : ", ") + name + "=" + value;
  return text;
}

/// What a thread lends while it waits, of what it holds: processors, its machine's or a bundle's.
ResourceSet processors_of(const ResourceSet& held) {
  ResourceSet processors;
  for (const auto& [name, amount] : held.amounts()) {
    if (name == "cpu" || name.starts_with("cpu@")) processors.set(name, amount);
  }
  return processors;
}

/// Bundles of placement groups are parts of the machine's resources, under names of their own.
ResourceSet without_bundles(const ResourceSet& all) {
  ResourceSet own;
  for (const auto& [name, amount] : all.amounts()) {
    if (name.find('@') == std::string::npos) own.set(name, amount);
  }
  return own;
}

std::exception_ptr stopped_error(const Task& task) {
  return std::make_exception_ptr(
      CancelledError(fmt::format("{}: the runtime was shut down before it ran", task.display_name()),
                     "get what you need before the Runtime's end"));
}

}  // namespace

LocalEngine::LocalEngine(RuntimeOptions options)
    : options_(std::move(options)),
      labels_(labels_of(options_)),
      resources_(std::make_shared<ResourceScheduler>(
          machine(options_), [this](int count) { threads_->request_slots(count); },
          [this](int count) { threads_->return_slots(count); })),
      threads_(std::make_unique<ThreadPool>(
          options_.num_cpus, [this](Job job) { run_job(job); }, [this] { resources_->slot_granted(); })) {}

LocalEngine::~LocalEngine() {
  shutdown();
  *alive_ = false;
}

template <class Options>
ResourceSet LocalEngine::check_options(const Options& options, const std::string& who) {
  for (const auto& [name, value] : options.labels) {
    const auto found = labels_.find(name);
    if (found == labels_.end() || found->second != value) {
      throw ResourceError(
          fmt::format("{}: must run where {}={}, and no node has that label", who, name, value),
          fmt::format("this node's labels are {}; RuntimeOptions::labels adds others", text_of(labels_)));
    }
  }
  if (!options.environment.empty() && !in_process(options.isolation)) {
    throw_invalid(fmt::format("{}: environment variables of its own need a process of its own", who),
                  "give it Isolation::process, or leave the environment out");
  }
  const ResourceSet need = requirement(options);
  if (options.placement.group == 0) resources_->check(need, who);
  return groups_.translate(need, options.placement, who);
}

bool LocalEngine::in_process(Isolation isolation) const {
  return (isolation == Isolation::inherit ? options_.isolation : isolation) == Isolation::process;
}

bool LocalEngine::in_process(const Task& task) const {
  return in_process(task.extras == nullptr ? Isolation::inherit : task.extras->options.isolation);
}

ProcessPool& LocalEngine::processes() {
  if (ProcessPool* started = started_processes_.load(std::memory_order_acquire)) return *started;
  std::lock_guard lock(processes_mutex_);
  if (processes_ == nullptr) {
    processes_ = std::make_unique<ProcessPool>(this, options_, [this](Task* task, std::exception_ptr failure) {
      process_task_ended(task, std::move(failure));
    });
    if ((mode_.load() & kRecording) != 0) processes_->record(recorder_.load());
    started_processes_.store(processes_.get(), std::memory_order_release);
  }
  return *processes_;
}

void LocalEngine::submit(Task* task) {
  if (const Task* parent = current_task()) task->caller = parent->function().name.c_str();
  if (task->extras != nullptr) {
    const TaskOptions& options = task->extras->options;
    task->extras->need = check_options(options, task->display_name());
    if (options.timeout.count() >= 0) {
      task->retain();
      task->extras->deadline =
          timer_.at(Timer::Clock::now() + options.timeout, [this, task, keep = Ref<void>(task)] { expire(task); });
    }
  }
  std::exception_ptr failure;
  while (Object* missing = task->unready_dependency(failure)) {
    task->notify = &dependency_ready;
    if (missing->add_waiter(*task)) return;
  }
  if (failure != nullptr) [[unlikely]] {
    if (task->claim()) {
      finish(task, failure);
    } else {
      task->release();
    }
    return;
  }
  submit_ready(task);
}

void LocalEngine::dependency_ready(Waiter* waiter) {
  auto* task = static_cast<Task*>(waiter);
  auto* engine = static_cast<LocalEngine*>(task->engine());
  std::exception_ptr failure;
  while (Object* missing = task->unready_dependency(failure)) {
    if (missing->add_waiter(*task)) return;
  }
  if (failure == nullptr) {
    engine->submit_ready(task);
  } else if (task->claim()) {
    engine->finish(task, failure);
  } else {
    task->release();
  }
}

void LocalEngine::submit_ready(Task* task) {
  if (!task->runnable()) task->set_runnable();
  if (task->extras != nullptr || options_.isolation == Isolation::process) [[unlikely]] {
    start_with_resources(task);
    return;
  }
  threads_->submit(reinterpret_cast<Job>(task));
}

void LocalEngine::start_with_resources(Task* task) {
  // Where worker processes can't be had, that is the caller's to know, not the thread's that frees the resources.
  ProcessPool* const pool = in_process(*task) ? &processes() : nullptr;
  ResourceSet need;
  if (task->extras != nullptr) {
    need = task->extras->need;
  } else {
    need.set("cpu", 1);
  }
  // One processor and nothing else is what a slot, or a worker process, stands for.
  const bool plain = need.amounts().size() == 1 && need.get("cpu") == Amount{1};
  // Beside threads, a worker process keeps a processor from them.
  const bool counted = pool != nullptr && options_.isolation != Isolation::process;
  if (plain && !counted) {
    if (pool != nullptr) {
      pool->submit(task);
    } else {
      threads_->submit(reinterpret_cast<Job>(task));
    }
    return;
  }
  const auto start = [this, task, need, pool] {
    if (pool != nullptr) {
      ResourceSet cpus;
      cpus.set("cpu", need.get("cpu"));
      const auto lend = [this, cpus](bool waits) { waits ? resources_->release(cpus) : resources_->take_back(cpus); };
      pool->submit(
          task, [this, need] { resources_->release(need); }, lend);
      return;
    }
    elastic_.run([this, task, need] {
      held_resources = &need;
      run_job(reinterpret_cast<Job>(task));
      held_resources = nullptr;
      resources_->release(need);
    });
  };
  resources_->acquire(need, start, [this, task](const std::exception_ptr& error) { fail_call(task, error); });
}

void LocalEngine::run_job(Job job) {
  if ((job & kActorBit) != 0) {
    if (threads_->on_worker()) threads_->flush_group();
    reinterpret_cast<LocalActor*>(job & ~kActorBit)->run();
    return;
  }
  auto* task = reinterpret_cast<Task*>(job);
  if (!task->claim()) [[unlikely]] {
    task->release();  // somebody else ran or cancelled it
    return;
  }
  run_claimed(task, threads_->on_worker());
}

void LocalEngine::run_claimed(Task* task, bool last) {
  std::exception_ptr failure;
  if (const std::uint8_t mode = mode_.load(std::memory_order_relaxed); mode != 0) [[unlikely]] {
    if ((mode & kStopping) != 0) {
      finish(task, stopped_error(*task));
      return;
    }
    Recorder::Span span(*recorder_.load(), task->display_name());
    failure = invoke(task);
    if (failure != nullptr) span.fail();
  } else {
    failure = invoke(task);
  }
  finish(task, std::move(failure), last);
}

inline std::exception_ptr LocalEngine::invoke(Task* task) {
  Task* before = exchange_current_task(task);
  std::exception_ptr failure;
  const bool again = task->extras != nullptr && task->extras->may_retry();
  try {
    task->invoke(again);
  } catch (...) {
    failure = capture_task_failure();
    while (again && failure != nullptr && wants_retry(*task, failure)) {
      ++task->extras->attempts;
      try {
        task->invoke(true);
        failure = nullptr;
      } catch (...) {
        failure = capture_task_failure();
      }
    }
  }
  exchange_current_task(before);
  return failure;
}

void LocalEngine::finish(Task* task, std::exception_ptr failure, bool last) {
  if (task->extras != nullptr && !may_end(task, failure)) [[unlikely]]
    return;
  task->drop_arguments();
  TaskGroup* group = task->group;
  if (failure != nullptr) [[unlikely]] {
    const char* caller = task->caller == nullptr ? "the program" : task->caller;
    failure = with_context(failure, fmt::format("{}, called by {}", task->display_name(), caller));
    if (group != nullptr) {
      group->fail(failure);
    } else if (task->unique() && !task->cancel_requested()) {
      try {
        std::rethrow_exception(failure);
      } catch (const std::exception& error) {
        log_warning("{} failed, and nobody holds its result: {}", task->display_name(), error.what());
      }
    }
    task->complete_with(std::move(failure));
    task->release();
  } else if (task->unique()) {
    task->complete_unshared();
    task->release();
  } else if (last && threads_->announce_search()) {
    const bool quick = task->ends_at_once();
    task->complete();
    // The end of a value may take long: whoever queues a job meanwhile must not count on this thread.
    task->release([&] {
      if (!quick) threads_->withdraw_search();
    });
  } else {
    task->complete();
    task->release();
  }
  if (group == nullptr) return;
  if (threads_->on_worker()) {
    threads_->finish_in_group(group);
  } else {
    group->finished(1);
  }
}

bool LocalEngine::wants_retry(const Task& task, const std::exception_ptr& failure) const {
  if (task.extras == nullptr || task.actor() != nullptr || task.cancel_requested() || stopping()) return false;
  const TaskOptions& options = task.extras->options;
  if (task.extras->attempts >= options.retries) return false;
  return options.retry_exceptions || is_one_of(failure, options.retry_on);
}

bool LocalEngine::may_end(Task* task, const std::exception_ptr& failure) {
  TaskExtras& extras = *task->extras;
  if (extras.options.timeout.count() < 0) return true;
  if (!extras.ended.exchange(true)) {
    timer_.cancel(extras.deadline);
    return true;
  }
  task->drop_arguments();
  if (failure == nullptr) task->keep_late_value();
  task->release();
  return false;
}

void LocalEngine::expire(Task* task) {
  if (task->extras->ended.exchange(true)) return;
  task->request_cancel();
  TimeoutError error(fmt::format("{} was not done within its timeout of {}", task->display_name(),
                                 format_duration(task->extras->options.timeout)),
                     "give it more time (TaskOptions::timeout), or less to do");
  task->complete_with(std::make_exception_ptr(std::move(error)));
  // Whoever finds it claimed drops it.
  if (task->claim()) return;
  ProcessPool* processes = started_processes_.load(std::memory_order_acquire);
  if (processes != nullptr) processes->cancel(task, Cancel::forced);
}

void LocalEngine::process_task_ended(Task* task, std::exception_ptr failure) {
  if (failure != nullptr && wants_retry(*task, failure) && !task->extras->ended &&
      !is_one_of(failure, exception_types<WorkerDiedError, CancelledError>())) {
    ++task->extras->attempts;
    task->unclaim();
    start_with_resources(task);
    return;
  }
  finish(task, std::move(failure));
}

ActorCore* LocalEngine::create_actor(ActorOptions options) {
  const std::string who = options.name.empty() ? "actor" : fmt::format("actor '{}'", options.name);
  if (options.concurrency < 1) {
    throw_invalid(fmt::format("{}: concurrency is {}", who, options.concurrency), "give it at least 1");
  }
  for (const auto& [name, width] : options.groups) {
    if (name.empty() || width < 1) {
      throw_invalid(fmt::format("{}: concurrency group '{}' runs {} calls at once", who, name, width),
                    "give it a name and at least 1");
    }
  }
  const ResourceSet need = check_options(options, who);
  if (in_process(options.isolation)) {
    if (need.empty()) return processes().create_actor(this, std::move(options));
    const auto held = std::make_shared<std::atomic<bool>>(false);
    const auto gone = [scheduler = resources_, alive = alive_, need, held] {
      if (*alive && *held) scheduler->release(need);
    };
    ActorCore* actor = processes().create_actor(this, std::move(options), gone);
    actor->retain();
    resources_->acquire(
        need,
        [this, actor, held] {
          *held = true;
          processes().start_actor(actor);
          actor->release();
        },
        [this, actor](const std::exception_ptr& error) {
          processes().kill(actor, error);
          actor->release();
        });
    return actor;
  }
  if (options.concurrency > 1 || !options.groups.empty()) {
    return make_local_actor<ConcurrentActor>(std::move(options), need);
  }
  return make_local_actor<LocalActor>(std::move(options), need);
}

template <class Local>
ActorCore* LocalEngine::make_local_actor(ActorOptions options, const ResourceSet& need) {
  auto* actor = new Local(this, *this, alive_, std::move(options), need);
  if (need.empty()) return actor;
  resources_->acquire(
      need, [actor] { actor->start(); },
      [actor](const std::exception_ptr& error) {
        actor->hold_nothing();
        actor->kill(error);
        actor->start();
      });
  return actor;
}

void LocalEngine::call(ActorCore* actor, Task* call) {
  if (const Task* parent = current_task()) call->caller = parent->function().name.c_str();
  if (LocalActor* local = actor->local()) {
    local->send(call);
  } else if (auto* concurrent = dynamic_cast<ConcurrentActor*>(actor)) {
    concurrent->send(call);
  } else {
    processes().call(actor, call);
  }
}

void LocalEngine::kill(ActorCore* actor) {
  const auto killed = [&] {
    return std::make_exception_ptr(WorkerDiedError(fmt::format("actor {} was killed", actor->title()), 0, 0, {},
                                                   "make a new one, or don't kill it while others call it"));
  };
  if (LocalActor* local = actor->local()) {
    local->kill(killed());
  } else if (auto* concurrent = dynamic_cast<ConcurrentActor*>(actor)) {
    concurrent->kill(killed());
  } else {
    processes().kill(actor);
  }
}

void LocalEngine::schedule(LocalActor* actor) {
  // One with processors of its own waits for none of the pool's; one without runs even where others hold them all.
  if (!actor->held().empty() || resources_->holds_every_slot()) [[unlikely]] {
    elastic_.run([actor] {
      const ResourceSet held = actor->held();
      held_resources = &held;
      actor->run();
      held_resources = nullptr;
    });
    return;
  }
  threads_->submit(reinterpret_cast<Job>(actor) | kActorBit, true);
}

bool LocalEngine::may_linger() const {
  return threads_->on_worker() && !threads_->has_local_jobs();
}

void LocalEngine::run_call(Task* call) {
  if (!call->claim()) {
    call->release();
    return;
  }
  const bool constructor = call->function().destroy_actor != nullptr;
  if (!constructor) {
    run_claimed(call);
    return;
  }
  // Where the constructor fails there is no object for the later calls: they fail as it did.
  auto* actor = static_cast<LocalActor*>(call->actor());
  call->retain();
  run_claimed(call);
  if (call->error() != nullptr) actor->kill(call->error());
  call->release();
}

void LocalEngine::run_call(ConcurrentActor* actor, Task* call, std::exception_ptr failure) {
  elastic_.run([this, actor, call, failure] {
    call->retain();
    if (!call->claim()) {
      call->release();  // it was cancelled
    } else if (failure != nullptr) {
      finish(call, failure);
    } else {
      run_claimed(call);
    }
    // Without an object the later calls fail as the constructor did.
    if (call->function().destroy_actor != nullptr && call->error() != nullptr) actor->kill(call->error());
    actor->ended(*call);
    call->release();
  });
}

void LocalEngine::actor_gone(const ResourceSet& held) {
  resources_->release(held);
}

void LocalEngine::fail_call(Task* call, std::exception_ptr error) {
  if (call->claim()) {
    finish(call, std::move(error));
  } else {
    call->release();
  }
}

void LocalEngine::actor_gone(LocalActor* actor) {
  resources_->release(actor->held());
}

bool LocalEngine::cancel(Task* task, Cancel how) {
  task->request_cancel();
  if (task->claim()) {
    task->retain();
    finish(task, std::make_exception_ptr(
                     CancelledError(fmt::format("{} was cancelled before it ran", task->display_name()))));
    return true;
  }
  if (task->ready()) return false;
  ProcessPool* processes = started_processes_.load(std::memory_order_acquire);
  if (processes != nullptr && processes->cancel(task, how)) return true;
  if (how == Cancel::forced) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{} runs in a thread, which can't be stopped by force", task->display_name()),
                "give it Isolation::process, or let it look at Runtime::cancelled()");
  }
  return true;
}

std::shared_ptr<const StoredBytes> LocalEngine::store(const void* value, EncodeFunction encode) {
  return processes().store(value, encode);
}

void LocalEngine::before_wait(Object* object) {
  // The kernel likes to wake a worker on the processor of who wakes it, which has nothing better to do now.
  if (threads_->has_woken_sleeper()) spin_yield();
  Task* task = object->task();
  if (task == nullptr) return;
  const Task* running = current_task();
  if (running != nullptr && task->actor() != nullptr && task->actor() == running->actor() &&
      !running->actor()->concurrent()) {
    throw_invalid(
        fmt::format("{} waits for a call of its own actor, which can't start before it ends", running->display_name()),
        "return the Ref instead of waiting for it, or call the member function directly");
  }
}

void LocalEngine::run_awaited(Object* object) {
  Task* task = object->task();
  if (task == nullptr || !threads_->on_worker() || task->extras != nullptr || task->actor() != nullptr ||
      options_.isolation == Isolation::process || inline_depth >= kMaxInlineDepth || !task->runnable() ||
      !task->claim()) {
    return;
  }
  // The queue's own reference is dropped by whoever takes it out and finds it claimed.
  task->retain();
  ++inline_depth;
  run_claimed(task);
  --inline_depth;
}

void LocalEngine::lend_slot() {
  if (threads_->on_worker()) {
    threads_->lend_slot();
  } else if (held_resources != nullptr) {
    resources_->release(processors_of(*held_resources));
  }
}

void LocalEngine::take_slot_back() {
  if (threads_->on_worker()) {
    threads_->take_slot_back();
  } else if (held_resources != nullptr) {
    resources_->take_back(processors_of(*held_resources));
  }
}

bool LocalEngine::poll() {
  ProcessPool* processes = started_processes_.load(std::memory_order_acquire);
  return processes != nullptr && processes->poll();
}

bool LocalEngine::begin_polling() {
  ProcessPool* processes = started_processes_.load(std::memory_order_acquire);
  if (processes != nullptr) processes->begin_polling();
  return processes != nullptr;
}

void LocalEngine::end_polling() {
  started_processes_.load(std::memory_order_acquire)->end_polling();
}

ResourceSet LocalEngine::total_resources() const {
  return without_bundles(resources_->total());
}
ResourceSet LocalEngine::available_resources() const {
  return without_bundles(resources_->available());
}
std::vector<NodeInfo> LocalEngine::nodes() const {
  return {{.id = "local",
           .host = labels_.at("host"),
           .labels = labels_,
           .total = total_resources(),
           .available = available_resources()}};
}
std::shared_ptr<Reservation> LocalEngine::reserve(const std::vector<Bundle>& bundles, const PlacementOptions& options) {
  return groups_.reserve(bundles, options);
}
std::string LocalEngine::name() const {
  return "local";
}

std::vector<pid_t> LocalEngine::worker_pids() const {
  ProcessPool* processes = started_processes_.load(std::memory_order_acquire);
  return processes == nullptr ? std::vector<pid_t>{} : processes->pids();
}

void LocalEngine::drop_job(Job job) {
  if ((job & kActorBit) != 0) {
    reinterpret_cast<LocalActor*>(job & ~kActorBit)->run();
    return;
  }
  auto* task = reinterpret_cast<Task*>(job);
  if (task->claim()) {
    finish(task, stopped_error(*task));
  } else {
    task->release();
  }
}

void LocalEngine::fill_state(EngineState& state) const {
  state.num_threads = threads_->num_slots();
  state.num_queued = resources_->num_waiting();
  if (const Recorder* recorder = recorder_.load(std::memory_order_acquire)) recorder->fill(state);
  state.recording = (mode_.load() & kRecording) != 0;
  if (const ProcessPool* pool = started_processes_.load(std::memory_order_acquire)) pool->fill_state(state);
}

void LocalEngine::record(bool on, bool keep_events) {
  std::lock_guard lock(recorder_mutex_);
  if (owned_recorder_ == nullptr) {
    owned_recorder_ = std::make_unique<Recorder>();
    recorder_.store(owned_recorder_.get(), std::memory_order_release);
  }
  if (keep_events) owned_recorder_->keep_events();
  if (on) {
    mode_.fetch_or(kRecording);
  } else {
    mode_.fetch_and(static_cast<std::uint8_t>(~kRecording));
  }
  if (ProcessPool* pool = started_processes_.load()) pool->record(on ? owned_recorder_.get() : nullptr);
}

std::string LocalEngine::timeline() const {
  const Recorder* recorder = recorder_.load(std::memory_order_acquire);
  return recorder == nullptr ? std::string() : recorder->timeline();
}

void LocalEngine::shutdown() {
  if ((mode_.fetch_or(kStopping) & kStopping) != 0) return;
  if (ProcessPool* processes = started_processes_.load(std::memory_order_acquire)) processes->stop();
  timer_.stop();
  resources_->stop();
  elastic_.stop();
  // Failing one task may make others ready, which are queued anew: until nothing is left.
  threads_->stop([this](Job job) { drop_job(job); });
}

std::unique_ptr<Engine> make_engine(const RuntimeOptions& options) {
  if (options.engine == "local") return std::make_unique<LocalEngine>(options);
  if (options.engine == "worker" && worker_site() != nullptr) return std::make_unique<WorkerEngine>(*worker_site());
  if (options.engine.starts_with("ray://")) return make_ray_engine(options);
  throw_invalid(fmt::format("engine '{}' is unknown", options.engine),
                "write local, ray://local, ray://auto, or ray://HOST:PORT");
}

}  // namespace mobula
