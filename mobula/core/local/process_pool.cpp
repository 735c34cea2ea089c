#include "mobula/core/local/process_pool.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>

#include "mobula/base/log.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/local/futex.hpp"
#include "mobula/core/local/process_actor.hpp"
#include "mobula/core/local/process_pool_state.hpp"
#include "mobula/core/local/store_writer.hpp"
#include "mobula/core/recorder.hpp"
#include "mobula/core/runtime.hpp"

namespace mobula {
namespace {

constexpr std::uint32_t kActorSlots = 64;

}  // namespace

bool ProcessPool::State::poll() {
  if (control->completions.load(std::memory_order_acquire) == seen_completions.load(std::memory_order_relaxed)) {
    return false;
  }
  std::vector<CallEnd> ends;
  {
    std::unique_lock poll_lock(poll_mutex, std::try_to_lock);
    if (!poll_lock) return false;
    seen_completions.store(control->completions.load(std::memory_order_seq_cst));
    std::lock_guard lock(mutex);
    for (LaneId lane = 0; lane < lanes.size(); ++lane) {
      if (lanes[lane].channel != nullptr) collect(lane, ends);
    }
  }
  const bool any = !ends.empty();
  end_all(ends);
  return any;
}

void ProcessPool::State::end_all(std::vector<CallEnd>& ends) {
  for (CallEnd& end : ends) {
    Task* task = end.call.task;
    ActorCore* actor = task == nullptr ? end.actor : task->actor();
    if (task != nullptr) {
      if (actor != nullptr && end.failure != nullptr && task->function().destroy_actor != nullptr) {
        static_cast<ProcessActor*>(actor)->die(end.failure);
      }
      const bool tell_actor = actor != nullptr && actor->concurrent();
      if (tell_actor) task->retain();
      finish(task, end.failure);
      if (tell_actor) {
        static_cast<ProcessActor*>(actor)->ended(*task);
        task->release();
      }
    }
    if (end.call.ended) end.call.ended();
    if (actor != nullptr) actor->release();
  }
}

void ProcessPool::State::wake_monitor() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake.get(), &one, sizeof one);
}

void ProcessPool::State::dispatch() {
  pthread_setname_np(pthread_self(), "mobula-results");
  while (!ending.load()) {
    if (poll()) continue;
    const std::uint32_t seen = seen_completions.load();
    // While somebody else looks, what they leave wakes us, or is taken within the millisecond.
    using std::chrono::nanoseconds;
    futex_wait(control->completions, seen,
               control->num_polling.load() != 0 ? nanoseconds(std::chrono::milliseconds(1)) : nanoseconds(-1),
               FutexScope::shared);
  }
}

void ProcessPool::State::watch() {
  pthread_setname_np(pthread_self(), "mobula-workers");
  std::vector<pollfd> polled;
  std::vector<WorkerId> ids;
  std::vector<WorkerId> ended;
  while (!ending.load()) {
    polled.assign(1, {wake.get(), POLLIN, 0});
    ids.assign(1, 0);
    int timeout = -1;
    {
      std::lock_guard lock(mutex);
      for (const auto& [id, worker] : workers) {
        polled.push_back({worker.process.exited.get(), POLLIN, 0});
        ids.push_back(id);
        const short events = worker.session->output_waiting() ? POLLIN | POLLOUT : POLLIN;
        polled.push_back({worker.process.socket.get(), events, 0});
        ids.push_back(id);
        if (!worker.stderr_open) continue;
        polled.push_back({worker.process.standard_error.get(), POLLIN, 0});
        ids.push_back(id);
      }
      if (const auto next = scheduler.next_tick()) {
        timeout = static_cast<int>(std::max(CallScheduler::Time{1}, *next - now()).count());
      }
    }
    if (::poll(polled.data(), polled.size(), timeout) < 0) continue;
    if (polled[0].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = read(wake.get(), &count, sizeof count);
    }
    std::vector<CallEnd> ends;
    std::map<std::shared_ptr<WorkerSession>, std::uint64_t> talking;  // and how many of its frames to act on
    std::vector<std::shared_ptr<WorkerSession>> gone;
    std::vector<LateResult> results;
    {
      std::lock_guard poll_lock(poll_mutex);
      std::lock_guard lock(mutex);
      ended.clear();
      for (std::size_t i = 1; i < polled.size(); ++i) {
        const auto found = workers.find(ids[i]);
        if (polled[i].revents == 0 || found == workers.end()) continue;
        PoolWorker& worker = found->second;
        if (polled[i].fd == worker.process.exited.get()) {
          ended.push_back(ids[i]);
        } else if (polled[i].fd == worker.process.socket.get()) {
          if ((polled[i].revents & POLLOUT) != 0) worker.session->flush();
          if ((polled[i].revents & POLLIN) == 0) continue;
          worker.session->read();
        } else {
          worker.stderr_open = worker.standard_error.forward(polled[i].fd);
        }
      }
      for (auto& [id, worker] : workers) {
        if (worker.session->num_read() == worker.session->num_acted()) continue;
        // What it showed before it wrote these is taken first: it may hold what these let go of.
        talking[worker.session] = worker.session->num_read();
        collect(worker.lane, ends);
      }
      for (const WorkerId id : ended) {
        workers.at(id).session->read();
        gone.push_back(worker_ended(id, ends));
        talking[gone.back()] = gone.back()->num_read();
      }
      for (const auto& [id, why] : std::exchange(not_started, {})) {
        const WorkerDeath death{{}, {}, why};
        scheduler.worker_ended(id, {}, now(), todo);
        carry_out(ends, &death);
      }
      scheduler.tick(now(), todo);
      carry_out(ends);
      results = std::exchange(late_results, {});
      for (const LateResult& result : results) result.session->read();
    }
    std::stable_sort(results.begin(), results.end(),
                     [](const LateResult& a, const LateResult& b) { return a.num_frames < b.num_frames; });
    for (LateResult& result : results) {
      complete(result);
      ends.push_back(std::move(result.end));
    }
    for (const auto& [session, num_frames] : talking) {
      session->act(num_frames);
      // What was read after the results were taken waits for the next ones.
      if (session->num_read() > num_frames) wake_monitor();
    }
    for (const auto& session : gone) session->close();
    end_all(ends);
  }
}

ProcessPool::ProcessPool(Engine* engine, const RuntimeOptions& options,
                         std::function<void(Task*, std::exception_ptr)> finish)
    : state_(std::make_shared<State>()) {
  State& state = *state_;
  state.engine = engine;
  state.options = options;
  state.handles = std::make_shared<HandleTable>(engine);
  set_handle_reader(state.handles);
  state.find_actor = [](const std::string& name, const std::string& type) {
    return Runtime::current().find_actor_core(name, type);
  };
  state.finish = std::move(finish);
  state.store = ObjectStore::make(options.memory, options.spill_dir, options.spill_quota);
  const std::uint64_t control = state.store->allocate(sizeof(SharedControl));
  state.control = new (state.store->arena().at(control)) SharedControl;
  state.wake = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  {
    std::lock_guard lock(state.mutex);
    state.tasks = state.open_lane(
        {.num_slots = TaskChannel::kMaxSlots, .num_workers = static_cast<std::uint32_t>(options.num_cpus)}, "worker",
        nullptr);
  }
  state.dispatcher = std::thread([&state] { state.dispatch(); });
  state.monitor = std::thread([&state] { state.watch(); });
}

ProcessPool::~ProcessPool() {
  stop();
}

void ProcessPool::submit(Task* task, std::function<void()> ended, std::function<void(bool)> lend) {
  State& state = *state_;
  if (!task->claim()) {
    task->release();
    if (ended) ended();
    return;
  }
  std::vector<CallEnd> ends;
  try {
    ProcessCall call = state.encode(task);
    std::lock_guard lock(state.mutex);
    if (state.scheduler.stopping()) throw CancelledError("the runtime was shut down before it ran");
    call.function = state.function_index(task->function());
    call.ended = ended;
    call.lend = std::move(lend);
    state.submit(state.tasks, std::move(call), ends);
  } catch (...) {
    state.finish(task, capture_task_failure());
    if (ended) ended();
  }
  state.end_all(ends);
}

ActorCore* ProcessPool::create_actor(Engine* engine, ActorOptions options, std::function<void()> gone) {
  State& state = *state_;
  const std::uint32_t num_workers = gone == nullptr ? 1 : 0;
  std::string name = options.name.empty() ? "actor" : fmt::format("actor {}", options.name);
  const int max_restarts = options.max_restarts;
  auto* actor = new ProcessActor(engine, std::move(options), state_, std::move(gone));
  std::lock_guard lock(state.mutex);
  const LaneOptions lane{
      .num_slots = kActorSlots, .num_workers = num_workers, .actor = true, .max_restarts = max_restarts};
  actor->set_lane(state.open_lane(lane, std::move(name), actor));
  return actor;
}

void ProcessPool::start_actor(ActorCore* core) {
  State& state = *state_;
  std::vector<CallEnd> ends;
  {
    std::lock_guard lock(state.mutex);
    state.scheduler.start_actor(static_cast<ProcessActor*>(core)->lane(), state.todo);
    state.carry_out(ends);
  }
  state.end_all(ends);
}

void ProcessPool::call(ActorCore* actor, Task* call) {
  static_cast<ProcessActor*>(actor)->call(call);
}

void ProcessPool::kill(ActorCore* core, std::exception_ptr error) {
  auto* actor = static_cast<ProcessActor*>(core);
  State& state = *state_;
  if (error == nullptr) {
    error = std::make_exception_ptr(WorkerDiedError(fmt::format("actor {} was killed", actor->title()), SIGKILL, 0, {},
                                                    "make a new one, or don't kill it while others call it"));
  }
  actor->die(std::move(error));
  std::vector<CallEnd> ends;
  {
    std::lock_guard lock(state.mutex);
    state.scheduler.kill(actor->lane(), state.todo);
    state.carry_out(ends);
  }
  state.end_all(ends);
}

bool ProcessPool::cancel(Task* task, Cancel how) {
  State& state = *state_;
  std::vector<CallEnd> ends;
  bool found = false;
  {
    std::lock_guard poll_lock(state.poll_mutex);
    std::lock_guard lock(state.mutex);
    for (CallId call = 0; call < state.calls.size(); ++call) {
      if (state.calls[call].task != task) continue;
      found = true;
      state.scheduler.cancel(call, how == Cancel::forced, state.todo);
      state.carry_out(ends);
      break;
    }
  }
  state.end_all(ends);
  return found;
}

std::shared_ptr<const StoredBytes> ProcessPool::store(const void* value, EncodeFunction encode) {
  return store_value(*state_->store, state_->handles, value, encode);
}

bool ProcessPool::poll() {
  return state_->poll();
}

void ProcessPool::begin_polling() {
  state_->control->num_polling.fetch_add(1, std::memory_order_seq_cst);
}

void ProcessPool::end_polling() {
  State& state = *state_;
  if (state.control->num_polling.fetch_sub(1, std::memory_order_seq_cst) != 1) return;
  // A worker that saw us looking woke nobody.
  if (state.control->completions.load(std::memory_order_seq_cst) != state.seen_completions.load()) {
    futex_wake(&state.control->completions, 1, FutexScope::shared);
  }
}

std::vector<pid_t> ProcessPool::pids() const {
  std::lock_guard lock(state_->mutex);
  std::vector<pid_t> pids;
  for (const auto& [id, worker] : state_->workers) pids.push_back(worker.process.pid);
  return pids;
}

void ProcessPool::fill_state(EngineState& all) const {
  const State& state = *state_;
  const ObjectStore::Usage usage = state.store->usage();
  all.objects = {.bytes_in_memory = usage.in_memory,
                 .memory_budget = usage.budget,
                 .bytes_on_disk = usage.on_disk,
                 .num_spills = usage.num_spills,
                 .num_restores = usage.num_restores};
  const std::int64_t time = Recorder::now();
  std::lock_guard lock(state.mutex);
  std::vector<const FunctionEntry*> functions(state.functions.size());
  for (const auto& [entry, index] : state.functions) functions[index] = entry;
  for (const auto& [id, worker] : state.workers) {
    const ProcessLane& lane = state.lanes[worker.lane];
    const std::string name = fmt::format("{} {}", lane.name, worker.process.pid);
    all.workers.push_back({lane.name, worker.process.pid});
    for (std::uint32_t index = 0; index < lane.channel->num_slots; ++index) {
      const TaskSlot& slot = lane.channel->slots[index];
      const std::uint64_t seen = slot.state.load(std::memory_order_acquire);
      if (TaskSlot::kind_of(seen) != SlotState::running || TaskSlot::worker_of(seen) != id) continue;
      const std::int64_t begin = slot.begin.load(std::memory_order_relaxed);
      const std::uint32_t function = slot.function;
      all.running.push_back({function < functions.size() ? functions[function]->name : "?", name,
                             begin == 0 ? 0.0 : static_cast<double>(time - begin) * 1e-9});
    }
  }
  for (LaneId lane = 0; lane < state.lanes.size(); ++lane) {
    if (state.lanes[lane].channel != nullptr) all.num_queued += state.scheduler.num_waiting(lane);
  }
}

void ProcessPool::record(Recorder* recorder) {
  state_->recorder.store(recorder);
  state_->control->recording.store(recorder == nullptr ? 0 : 1);
}

void ProcessPool::stop() {
  State& state = *state_;
  std::vector<CallEnd> ends;
  {
    std::lock_guard poll_lock(state.poll_mutex);
    std::lock_guard lock(state.mutex);
    if (state.scheduler.stopping()) return;
    state.scheduler.stop(state.todo);
    state.carry_out(ends);
  }
  state.end_all(ends);
  {
    std::unique_lock lock(state.mutex);
    state.drained.wait(lock, [&] { return state.scheduler.num_placed() == 0; });
    state.scheduler.end_workers(state.todo);
    state.carry_out(ends);
  }
  state.ending = true;
  state.control->completions.fetch_add(1);
  futex_wake(&state.control->completions, 1, FutexScope::shared);
  state.wake_monitor();
  state.dispatcher.join();
  state.monitor.join();
  for (auto& [id, worker] : state.workers) {
    reap_worker_process(worker.process);
    worker.session->close();
  }
  state.workers.clear();
}

}  // namespace mobula
