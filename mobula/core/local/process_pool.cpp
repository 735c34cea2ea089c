#include "mobula/core/local/process_pool.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "mobula/base/log.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/local/frames.hpp"
#include "mobula/core/local/futex.hpp"
#include "mobula/core/local/object_store.hpp"
#include "mobula/core/local/process_worker.hpp"
#include "mobula/core/local/stderr_tail.hpp"
#include "mobula/core/local/task_channel.hpp"
#include "mobula/core/local/worker_process.hpp"

namespace mobula {
namespace {

/// Values up to this size travel with the call instead of through memory of their own.
constexpr std::size_t kInlineValueBytes = 2048;
constexpr std::uint32_t kActorSlots = 64;
constexpr std::uint32_t kDriver = 0xffff;  ///< as a slot's worker: the driver took the call back

/// A call from its submission to its end.
struct Call {
  Task* task = nullptr;
  std::function<void()> ended;
  std::string arguments;
  std::vector<PinnedBytes> pins;  ///< objects among the arguments
  std::uint32_t function = 0;
  int attempts = 0;
};

struct ProcessActor;

/// A channel and what the driver knows of its calls.
struct Lane {
  TaskChannel* channel = nullptr;
  std::uint64_t offset = 0;
  std::vector<std::uint32_t> free_slots;
  std::vector<Call> calls;  ///< by slot
  std::deque<Call> backlog;
  ProcessActor* actor = nullptr;
  std::size_t num_running() const { return calls.size() - free_slots.size(); }
};

/// A worker process.
struct Worker {
  std::uint32_t id = 0;
  WorkerProcess process;
  StderrTail standard_error;
  bool stderr_open = true;
  bool expected = false;  ///< we ended it ourselves
  Lane* lane = nullptr;
  std::string name;
};

/// A call that has come to its end, to be told of outside the mutexes.
struct End {
  Call call;
  std::exception_ptr failure;
  ActorCore* actor = nullptr;  ///< to be released where there is no task any more
};

}  // namespace

struct ProcessPool::State {
  RuntimeOptions options;
  std::function<void(Task*, std::exception_ptr)> finish;
  std::shared_ptr<ObjectStore> store;
  SharedControl* control = nullptr;

  mutable std::mutex mutex;
  std::condition_variable drained;
  Lane tasks;
  std::vector<std::unique_ptr<Lane>> actor_lanes;
  std::map<std::uint32_t, std::unique_ptr<Worker>> workers;
  std::unordered_map<const FunctionEntry*, std::uint32_t> functions;
  std::uint32_t next_worker = 1;
  bool stopping = false;

  std::mutex poll_mutex;
  std::atomic<std::uint32_t> seen_completions{0};
  std::atomic<bool> ending{false};
  Descriptor wake;
  std::thread dispatcher;
  std::thread monitor;

  void make_lane(Lane& lane, std::uint32_t num_slots);
  void start_worker(Lane& lane, const std::string& name);
  std::uint32_t function_index(const FunctionEntry& entry);
  Call encode(Task* task);
  void enqueue(Lane& lane, Call call);
  void place(Lane& lane, Call call);
  void refill(Lane& lane);
  void collect(Lane& lane, std::vector<End>& ends);
  bool poll();
  void end_all(std::vector<End>& ends);
  void dispatch();
  void watch();
  void worker_ended(Worker& worker, std::vector<End>& ends);
  void drop_lane(Lane& lane);
  void signal(const Worker& worker) const;
};

namespace {

/// An actor with a process of its own. Where both are held, order_mutex is taken before the pool's mutex.
struct ProcessActor final : ActorCore {
  ProcessActor(Engine* engine, ActorOptions options, std::shared_ptr<ProcessPool::State> state)
      : ActorCore(engine, std::move(options)), pool(std::move(state)) {}

  void abandon() noexcept override;
  static void argument_ready(Waiter* waiter);
  /// Encodes calls in order while their arguments are ready. Adds those that failed before to `ends`.
  void advance(std::vector<End>& ends);
  std::exception_ptr death() {
    std::lock_guard lock(death_mutex);
    return death_error;
  }
  bool alive() noexcept override { return death() == nullptr; }
  void die(std::exception_ptr error) {
    std::lock_guard lock(death_mutex);
    if (death_error == nullptr) death_error = std::move(error);
  }

  std::shared_ptr<ProcessPool::State> pool;
  Lane* lane = nullptr;
  int restarts = 0;  ///< under the pool's mutex
  Call constructor;  ///< kept to make the object anew; under the pool's mutex
  std::mutex order_mutex;
  std::deque<Task*> waiting;      ///< not encoded yet, oldest first
  bool argument_missing = false;  ///< the oldest one waits for an argument
  std::mutex death_mutex;
  std::exception_ptr death_error;
};

/// Encodes an object's value, whatever its type.
constexpr EncodeFunction kEncodeObject = [](const void* object, WireWriter& out) {
  static_cast<Object*>(const_cast<void*>(object))->encode_value(out);
};

/// Puts arguments together: values inline, large objects by where they lie in the arena.
class StoreWriter final : public ArgumentWriter {
 public:
  explicit StoreWriter(ObjectStore& store) : store_(store) {}

  void reference(Object& object) override {
    auto stored = object.stored();
    if (stored == nullptr) {
      WireWriter count{WireWriter::Counting{}};
      object.encode_value(count);
      if (count.size() <= kInlineValueBytes) {
        out.number<std::uint64_t>(0);
        out.number<std::uint64_t>(count.size());
        object.encode_value(out);
        return;
      }
      stored = store_.encode(&object, kEncodeObject, count.size());
      object.attach_stored(stored);
    }
    PinnedBytes pinned = stored->pin();
    out.number<std::uint64_t>(StoredObject::offset_of(store_, pinned));
    out.number<std::uint64_t>(pinned.bytes().size());
    pins.push_back(std::move(pinned));
  }
  std::vector<PinnedBytes> pins;  ///< what the call reads where it lies

 private:
  ObjectStore& store_;
};

}  // namespace

void ProcessPool::State::make_lane(Lane& lane, std::uint32_t num_slots) {
  lane.offset = store->allocate(TaskChannel::bytes_for(num_slots));
  lane.channel = reinterpret_cast<TaskChannel*>(store->arena().at(lane.offset));
  std::memset(static_cast<void*>(lane.channel), 0, TaskChannel::bytes_for(num_slots));
  lane.channel->num_slots = num_slots;
  lane.calls.resize(num_slots);
  for (std::uint32_t slot = num_slots; slot > 0; --slot) lane.free_slots.push_back(slot - 1);
}

void ProcessPool::State::start_worker(Lane& lane, const std::string& name) {
  auto worker = std::make_unique<Worker>();
  worker->id = next_worker;
  next_worker = next_worker % (kDriver - 1) + 1;
  worker->lane = &lane;
  worker->name = name;
  worker->process = start_worker_process({.role = std::string(kTaskWorkerRole),
                                          .title = "mobula-worker: " + name,
                                          .inherited = {store->arena().descriptor()}});
  const std::string start = mobula::encode(TaskWorkerStart{
      .name = name, .shared_memory = store->arena().descriptor(), .channel = lane.offset, .worker = worker->id});
  write_fully(worker->process.socket.get(), encode_frame(0, start));
  const std::uint32_t id = worker->id;
  workers[id] = std::move(worker);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake.get(), &one, sizeof one);
}

void ProcessPool::State::signal(const Worker& worker) const {
  syscall(SYS_pidfd_send_signal, worker.process.exited.get(), SIGKILL, nullptr, 0);
}

std::uint32_t ProcessPool::State::function_index(const FunctionEntry& entry) {
  if (const auto found = functions.find(&entry); found != functions.end()) return found->second;
  const auto index = static_cast<std::uint32_t>(functions.size());
  if (index == SharedControl::kMaxFunctions) {
    throw Error(ErrorCode::resource, "more than 8,192 different functions run in worker processes");
  }
  Dl_info info{};
  std::string text;
  if (dladdr(reinterpret_cast<const void*>(entry.run_encoded), &info) != 0 && info.dli_fname != nullptr) {
    text = info.dli_fname;
  }
  text += '\0';
  text += entry.key;
  const std::uint64_t offset = store->allocate(text.size());
  std::memcpy(store->arena().at(offset), text.data(), text.size());
  control->functions[index] = {offset, static_cast<std::uint32_t>(text.size())};
  functions[&entry] = index;
  return index;
}

Call ProcessPool::State::encode(Task* task) {
  Call call;
  call.task = task;
  StoreWriter writer(*store);
  const auto& environment = task->options().environment;
  writer.out.number(static_cast<std::uint32_t>(environment.size()));
  for (const auto& [name, value] : environment) {
    writer.out.text(name);
    writer.out.text(value);
  }
  task->encode_arguments(writer);
  call.arguments = writer.out.take();
  call.pins = std::move(writer.pins);
  return call;
}

void ProcessPool::State::enqueue(Lane& lane, Call call) {
  if (lane.free_slots.empty() || !lane.backlog.empty()) {
    lane.backlog.push_back(std::move(call));
  } else {
    place(lane, std::move(call));
  }
}

void ProcessPool::State::place(Lane& lane, Call call) {
  const std::uint32_t index = lane.free_slots.back();
  TaskSlot& slot = lane.channel->slots[index];
  slot.cancelled.store(call.task != nullptr && call.task->cancel_requested() ? 1 : 0, std::memory_order_relaxed);
  slot.function = call.function;
  slot.size = call.arguments.size();
  slot.offset = 0;
  slot.result_offset.store(0, std::memory_order_relaxed);
  if (call.arguments.size() <= TaskSlot::kInlineBytes) {
    std::memcpy(slot.bytes, call.arguments.data(), call.arguments.size());
  } else {
    slot.offset = store->allocate(call.arguments.size());
    std::memcpy(store->arena().at(slot.offset), call.arguments.data(), call.arguments.size());
  }
  lane.free_slots.pop_back();
  lane.calls[index] = std::move(call);
  lane.channel->push(index);
}

void ProcessPool::State::refill(Lane& lane) {
  while (!lane.free_slots.empty() && !lane.backlog.empty()) {
    Call call = std::move(lane.backlog.front());
    lane.backlog.pop_front();
    place(lane, std::move(call));
  }
}

/// Takes the ended calls of a lane; under both mutexes.
void ProcessPool::State::collect(Lane& lane, std::vector<End>& ends) {
  for (std::uint32_t word = 0; word * 64 < lane.channel->num_slots; ++word) {
    if (lane.channel->done[word].load(std::memory_order_relaxed) == 0) continue;
    std::uint64_t bits = lane.channel->done[word].exchange(0, std::memory_order_seq_cst);
    for (; bits != 0; bits &= bits - 1) {
      const std::uint32_t index = word * 64 + static_cast<std::uint32_t>(__builtin_ctzll(bits));
      TaskSlot& slot = lane.channel->slots[index];
      const SlotState state = TaskSlot::kind_of(slot.state.load(std::memory_order_acquire));
      End end;
      end.call = std::exchange(lane.calls[index], {});
      const std::uint64_t offset = slot.result_offset.load(std::memory_order_relaxed);
      const std::uint64_t size = slot.result_size.load(std::memory_order_relaxed);
      std::string result;
      std::shared_ptr<const StoredObject> stored;
      if (offset != 0) {
        stored = store->adopt(offset, size, slot.result_reserved.load(std::memory_order_relaxed));
      } else {
        result.assign(slot.bytes, size);
      }
      if (slot.offset != 0) store->free(slot.offset, slot.size);
      slot.state.store(0, std::memory_order_relaxed);
      lane.free_slots.push_back(index);
      if (state == SlotState::failed) {
        end.failure = stored != nullptr ? decode_error(stored->pin().bytes()) : decode_error(result);
      } else if (end.call.task != nullptr) {
        try {
          if (stored != nullptr) {
            end.call.task->take_stored(std::move(stored));
          } else {
            end.call.task->take_bytes(result);
          }
        } catch (...) {
          end.failure = capture_task_failure();
        }
      }
      ends.push_back(std::move(end));
    }
  }
  refill(lane);
  if (stopping && lane.num_running() == 0) drained.notify_all();
}

bool ProcessPool::State::poll() {
  if (control->completions.load(std::memory_order_acquire) == seen_completions.load(std::memory_order_relaxed)) {
    return false;
  }
  std::vector<End> ends;
  {
    std::unique_lock poll_lock(poll_mutex, std::try_to_lock);
    if (!poll_lock) return false;
    seen_completions.store(control->completions.load(std::memory_order_seq_cst));
    std::lock_guard lock(mutex);
    collect(tasks, ends);
    for (const auto& lane : actor_lanes) {
      if (lane->channel != nullptr) collect(*lane, ends);
    }
  }
  const bool any = !ends.empty();
  end_all(ends);
  return any;
}

/// Outside the mutexes: finishing a task may submit others.
void ProcessPool::State::end_all(std::vector<End>& ends) {
  for (End& end : ends) {
    Task* task = end.call.task;
    ActorCore* actor = task == nullptr ? end.actor : task->actor();
    if (task != nullptr) {
      if (actor != nullptr && end.failure != nullptr && task->function().destroy_actor != nullptr) {
        static_cast<ProcessActor*>(actor)->die(end.failure);
      }
      finish(task, end.failure);
    }
    if (end.call.ended) end.call.ended();
    if (actor != nullptr) actor->release();
  }
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

void ProcessPool::State::worker_ended(Worker& worker, std::vector<End>& ends) {
  const WorkerExit exit = reap_worker_process(worker.process);
  if (worker.stderr_open) worker.standard_error.forward(worker.process.standard_error.get());
  Lane& lane = *worker.lane;
  // What it had finished is finished.
  collect(lane, ends);
  std::uint32_t spinner = worker.id;
  lane.channel->spinner.compare_exchange_strong(spinner, 0);
  if (workers.size() == 1 || lane.actor != nullptr) lane.channel->num_sleeping.store(0);
  ProcessActor* actor = lane.actor;
  std::deque<Call> again;
  for (std::uint32_t index = 0; index < lane.channel->num_slots; ++index) {
    TaskSlot& slot = lane.channel->slots[index];
    const std::uint64_t state = slot.state.load();
    const bool running = TaskSlot::kind_of(state) == SlotState::running && TaskSlot::worker_of(state) == worker.id;
    if (!running) continue;
    Call call = std::exchange(lane.calls[index], {});
    if (const std::uint64_t offset = slot.result_offset.load(); offset != 0) {
      store->free(offset, slot.result_reserved.load());
    }
    if (slot.offset != 0) store->free(slot.offset, slot.size);
    slot.state.store(0);
    lane.free_slots.push_back(index);
    if (call.task == nullptr) continue;
    const int allowed = actor == nullptr ? call.task->options().retries : actor->options().max_task_retries;
    if (call.task->cancel_requested()) {
      ends.push_back({std::move(call), std::make_exception_ptr(CancelledError("it was cancelled while it ran"))});
    } else if (!stopping && !worker.expected && call.attempts < allowed) {
      ++call.attempts;
      again.push_back(std::move(call));
    } else {
      const std::string who = call.attempts == 0
                                  ? call.task->display_name()
                                  : fmt::format("{} (in attempt {})", call.task->display_name(), call.attempts + 1);
      const WorkerDiedError died = describe_death(who, exit.signal, exit.exit_code, worker.standard_error.last_lines());
      ends.push_back({std::move(call), std::make_exception_ptr(died)});
    }
  }
  if (stopping || worker.expected) {
    if (stopping) drained.notify_all();
    if (worker.expected && &lane != &tasks) drop_lane(lane);
    return;
  }
  if (actor == nullptr) {
    for (Call& call : again) enqueue(lane, std::move(call));
    start_worker(lane, worker.name);
    return;
  }
  const int allowed = actor->options().max_restarts;
  if ((allowed >= 0 && actor->restarts >= allowed) || actor->death() != nullptr) {
    const auto died = std::make_exception_ptr(describe_death(fmt::format("actor {}", actor->title()), exit.signal,
                                                             exit.exit_code, worker.standard_error.last_lines()));
    actor->die(died);
    for (std::uint32_t index = 0; index < lane.channel->num_slots; ++index) {
      if (lane.calls[index].task == nullptr) continue;
      if (lane.channel->slots[index].offset != 0) {
        store->free(lane.channel->slots[index].offset, lane.channel->slots[index].size);
      }
      lane.channel->slots[index].state.store(0);
      lane.free_slots.push_back(index);
      ends.push_back({std::exchange(lane.calls[index], {}), died});
    }
    for (Call& call : again) ends.push_back({std::move(call), died});
    for (Call& call : lane.backlog) ends.push_back({std::move(call), died});
    lane.backlog.clear();
    return;
  }
  ++actor->restarts;
  // The object is made anew before anything else is called on it: calls that wait in the channel wait behind.
  std::deque<Call> waiting;
  Call constructor;
  constructor.arguments = actor->constructor.arguments;
  constructor.function = actor->constructor.function;
  waiting.push_back(std::move(constructor));
  for (Call& call : again) waiting.push_back(std::move(call));
  // In the order of their turns.
  std::map<std::uint32_t, std::uint32_t> ready;
  for (std::uint32_t index = 0; index < lane.channel->num_slots; ++index) {
    const std::uint64_t state = lane.channel->slots[index].state.load();
    if (TaskSlot::kind_of(state) == SlotState::ready) ready[TaskSlot::turn_of(state)] = index;
  }
  for (const auto& [turn, index] : ready) {
    TaskSlot& slot = lane.channel->slots[index];
    if (slot.offset != 0) store->free(slot.offset, slot.size);
    slot.state.store(0);
    lane.free_slots.push_back(index);
    waiting.push_back(std::exchange(lane.calls[index], {}));
  }
  lane.channel->head.store(lane.channel->tail.load());
  for (Call& call : lane.backlog) waiting.push_back(std::move(call));
  lane.backlog = std::move(waiting);
  refill(lane);
  start_worker(lane, worker.name);
}

void ProcessPool::State::drop_lane(Lane& lane) {
  store->free(lane.offset, TaskChannel::bytes_for(lane.channel->num_slots));
  std::erase_if(actor_lanes, [&](const std::unique_ptr<Lane>& other) { return other.get() == &lane; });
}

void ProcessPool::State::watch() {
  pthread_setname_np(pthread_self(), "mobula-workers");
  std::vector<pollfd> polled;
  std::vector<std::uint32_t> ids;
  while (!ending.load()) {
    polled.assign(1, {wake.get(), POLLIN, 0});
    ids.assign(1, 0);
    {
      std::lock_guard lock(mutex);
      for (const auto& [id, worker] : workers) {
        polled.push_back({worker->process.exited.get(), POLLIN, 0});
        ids.push_back(id);
        if (!worker->stderr_open) continue;
        polled.push_back({worker->process.standard_error.get(), POLLIN, 0});
        ids.push_back(id);
      }
    }
    if (::poll(polled.data(), polled.size(), -1) <= 0) continue;
    if (polled[0].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t got = read(wake.get(), &count, sizeof count);
    }
    std::vector<End> ends;
    {
      std::lock_guard poll_lock(poll_mutex);
      std::lock_guard lock(mutex);
      for (std::size_t i = 1; i < polled.size(); ++i) {
        if (polled[i].revents == 0) continue;
        const auto found = workers.find(ids[i]);
        if (found == workers.end()) continue;
        Worker& worker = *found->second;
        if (polled[i].fd == worker.process.standard_error.get()) {
          worker.stderr_open = worker.standard_error.forward(polled[i].fd);
        }
      }
      for (std::size_t i = 1; i < polled.size(); ++i) {
        const auto found = workers.find(ids[i]);
        if (polled[i].revents == 0 || found == workers.end()) continue;
        if (polled[i].fd != found->second->process.exited.get()) continue;
        const std::unique_ptr<Worker> ended = std::move(found->second);
        workers.erase(found);
        try {
          worker_ended(*ended, ends);
        } catch (const std::exception& error) {
          log_error("a worker process could not be replaced: {}", error.what());
        }
      }
    }
    end_all(ends);
  }
}

ProcessPool::ProcessPool(const RuntimeOptions& options, std::function<void(Task*, std::exception_ptr)> finish)
    : state_(std::make_shared<State>()) {
  State& state = *state_;
  state.options = options;
  state.finish = std::move(finish);
  state.store = ObjectStore::make(options.memory, options.spill_dir, options.spill_quota);
  const std::uint64_t control = state.store->allocate(sizeof(SharedControl));
  state.control = new (state.store->arena().at(control)) SharedControl;
  state.make_lane(state.tasks, TaskChannel::kMaxSlots);
  state.wake = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  {
    std::lock_guard lock(state.mutex);
    for (int i = 0; i < options.num_cpus; ++i) state.start_worker(state.tasks, fmt::format("worker {}", i));
  }
  state.dispatcher = std::thread([&state] { state.dispatch(); });
  state.monitor = std::thread([&state] { state.watch(); });
}

ProcessPool::~ProcessPool() {
  stop();
}

void ProcessPool::submit(Task* task, std::function<void()> ended) {
  State& state = *state_;
  if (!task->claim()) {
    task->release();
    if (ended) ended();
    return;
  }
  try {
    Call call = state.encode(task);
    call.ended = ended;
    std::lock_guard lock(state.mutex);
    if (state.stopping) throw CancelledError("the runtime was shut down before it ran");
    call.function = state.function_index(task->function());
    state.enqueue(state.tasks, std::move(call));
  } catch (...) {
    state.finish(task, capture_task_failure());
    if (ended) ended();
  }
}

ActorCore* ProcessPool::create_actor(Engine* engine, ActorOptions options) {
  State& state = *state_;
  const std::string name = options.name.empty() ? "actor" : fmt::format("actor {}", options.name);
  auto* actor = new ProcessActor(engine, std::move(options), state_);
  std::lock_guard lock(state.mutex);
  auto lane = std::make_unique<Lane>();
  state.make_lane(*lane, kActorSlots);
  lane->actor = actor;
  actor->lane = lane.get();
  state.actor_lanes.push_back(std::move(lane));
  state.start_worker(*actor->lane, name);
  return actor;
}

namespace {

void ProcessActor::argument_ready(Waiter* waiter) {
  auto* call = static_cast<Task*>(waiter);
  auto* actor = static_cast<ProcessActor*>(call->actor());
  std::vector<End> ends;
  {
    std::lock_guard lock(actor->order_mutex);
    actor->argument_missing = false;
    actor->advance(ends);
  }
  actor->pool->end_all(ends);
}

void ProcessActor::advance(std::vector<End>& ends) {
  while (!waiting.empty() && !argument_missing) {
    Task* task = waiting.front();
    Call call;
    std::exception_ptr failure = death();
    Object* missing = nullptr;
    while (failure == nullptr && (missing = task->unready_dependency(failure)) != nullptr) {
      task->notify = &argument_ready;
      argument_missing = true;
      if (missing->add_waiter(*task)) return;
      argument_missing = false;
    }
    waiting.pop_front();
    if (!task->claim()) {
      task->release();  // it was cancelled
      ends.push_back({.actor = this});
      continue;
    }
    if (failure == nullptr) {
      try {
        call = pool->encode(task);
        std::lock_guard lock(pool->mutex);
        if (pool->stopping) throw CancelledError("the runtime was shut down before it ran");
        call.function = pool->function_index(task->function());
        if (task->function().destroy_actor != nullptr) {
          constructor.arguments = call.arguments;
          constructor.function = call.function;
        }
        pool->enqueue(*lane, std::move(call));
        continue;
      } catch (...) {
        failure = capture_task_failure();
      }
    }
    call.task = task;
    ends.push_back({std::move(call), failure});
  }
}

void ProcessActor::abandon() noexcept {
  // No handle and no call is left.
  {
    std::lock_guard lock(pool->mutex);
    bool running = false;
    for (const auto& [id, worker] : pool->workers) {
      if (worker->lane != lane) continue;
      running = true;
      worker->expected = true;
      pool->signal(*worker);
    }
    lane->actor = nullptr;
    if (!running) pool->drop_lane(*lane);
  }
  delete this;
}

}  // namespace

void ProcessPool::call(ActorCore* core, Task* call) {
  auto* actor = static_cast<ProcessActor*>(core);
  actor->retain();  // until the call's end
  std::vector<End> ends;
  {
    std::lock_guard lock(actor->order_mutex);
    actor->waiting.push_back(call);
    actor->advance(ends);
  }
  state_->end_all(ends);
}

void ProcessPool::kill(ActorCore* core) {
  auto* actor = static_cast<ProcessActor*>(core);
  State& state = *state_;
  actor->die(std::make_exception_ptr(WorkerDiedError(fmt::format("actor {} was killed", actor->title()), SIGKILL, 0, {},
                                                     "make a new one, or don't kill it while others call it")));
  std::lock_guard lock(state.mutex);
  for (const auto& [id, worker] : state.workers) {
    if (worker->lane == actor->lane) state.signal(*worker);
  }
}

bool ProcessPool::cancel(Task* task, Cancel how) {
  State& state = *state_;
  std::vector<End> ends;
  bool found = false;
  {
    std::lock_guard poll_lock(state.poll_mutex);
    std::lock_guard lock(state.mutex);
    std::vector<Lane*> lanes{&state.tasks};
    for (const auto& lane : state.actor_lanes) lanes.push_back(lane.get());
    for (Lane* lane : lanes) {
      for (auto at = lane->backlog.begin(); at != lane->backlog.end(); ++at) {
        if (at->task != task) continue;
        ends.push_back({std::move(*at), std::make_exception_ptr(CancelledError("it was cancelled before it ran"))});
        lane->backlog.erase(at);
        found = true;
        break;
      }
      for (std::uint32_t index = 0; !found && index < lane->channel->num_slots; ++index) {
        if (lane->calls[index].task != task) continue;
        found = true;
        TaskSlot& slot = lane->channel->slots[index];
        std::uint64_t seen = slot.state.load();
        if (TaskSlot::kind_of(seen) == SlotState::ready &&
            slot.state.compare_exchange_strong(seen,
                                               TaskSlot::pack(TaskSlot::turn_of(seen), kDriver, SlotState::running))) {
          ends.push_back({std::exchange(lane->calls[index], {}),
                          std::make_exception_ptr(CancelledError("it was cancelled before it ran"))});
          if (slot.offset != 0) state.store->free(slot.offset, slot.size);
          slot.state.store(0);
          lane->free_slots.push_back(index);
          break;
        }
        slot.cancelled.store(1);
        if (how == Cancel::forced) {
          const auto worker = state.workers.find(TaskSlot::worker_of(slot.state.load()));
          if (worker != state.workers.end()) state.signal(*worker->second);
        }
      }
      if (found) break;
    }
  }
  state.end_all(ends);
  return found;
}

std::shared_ptr<const StoredBytes> ProcessPool::store(const void* value, EncodeFunction encode) {
  WireWriter count{WireWriter::Counting{}};
  encode(value, count);
  if (count.size() <= kInlineValueBytes) return nullptr;
  return state_->store->encode(value, encode, count.size());
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
  for (const auto& [id, worker] : state_->workers) pids.push_back(worker->process.pid);
  return pids;
}

void ProcessPool::stop() {
  State& state = *state_;
  std::vector<End> ends;
  {
    std::lock_guard poll_lock(state.poll_mutex);
    std::lock_guard lock(state.mutex);
    if (state.stopping) return;
    state.stopping = true;
    std::vector<Lane*> lanes{&state.tasks};
    for (const auto& lane : state.actor_lanes) lanes.push_back(lane.get());
    const auto cancelled = std::make_exception_ptr(
        CancelledError("the runtime was shut down before it ran", "get what you need before the Runtime's end"));
    for (Lane* lane : lanes) {
      for (Call& call : lane->backlog) ends.push_back({std::move(call), cancelled});
      lane->backlog.clear();
      for (std::uint32_t index = 0; index < lane->channel->num_slots; ++index) {
        TaskSlot& slot = lane->channel->slots[index];
        std::uint64_t seen = slot.state.load();
        if (TaskSlot::kind_of(seen) != SlotState::ready ||
            !slot.state.compare_exchange_strong(seen,
                                                TaskSlot::pack(TaskSlot::turn_of(seen), kDriver, SlotState::running))) {
          continue;
        }
        ends.push_back({std::exchange(lane->calls[index], {}), cancelled});
        slot.state.store(0);
        lane->free_slots.push_back(index);
      }
    }
  }
  state.end_all(ends);
  {
    std::unique_lock lock(state.mutex);
    state.drained.wait(lock, [&] {
      std::size_t running = state.tasks.num_running();
      for (const auto& lane : state.actor_lanes) running += lane->num_running();
      return running == 0;
    });
    for (const auto& [id, worker] : state.workers) {
      worker->expected = true;
      state.signal(*worker);
    }
  }
  state.ending = true;
  state.control->completions.fetch_add(1);
  futex_wake(&state.control->completions, 1, FutexScope::shared);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(state.wake.get(), &one, sizeof one);
  state.dispatcher.join();
  state.monitor.join();
  for (const auto& [id, worker] : state.workers) reap_worker_process(worker->process);
  state.workers.clear();
}

}  // namespace mobula
