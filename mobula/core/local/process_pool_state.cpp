#include "mobula/core/local/process_pool_state.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "mobula/base/log.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/local/frames.hpp"
#include "mobula/core/local/futex.hpp"
#include "mobula/core/local/process_actor.hpp"
#include "mobula/core/local/process_worker.hpp"
#include "mobula/core/local/store_writer.hpp"
#include "mobula/core/recorder.hpp"

namespace mobula {
namespace {

constexpr std::uint32_t kDriver = 0xffff;  ///< as a slot's worker: the driver took the call back
static_assert(CallScheduler::kMaxWorkers < kDriver);

}  // namespace

ProcessCall ProcessPool::State::encode(Task* task) {
  ProcessCall call;
  call.task = task;
  StoreWriter writer(*store, handles);
  // What the program itself calls needs no chain of callers beyond its own name.
  writer.out.text(task->caller == nullptr ? std::string_view() : std::string_view(task->caller));
  const auto& environment = task->options().environment;
  writer.out.number(static_cast<std::uint32_t>(environment.size()));
  for (const auto& [name, value] : environment) {
    writer.out.text(name);
    writer.out.text(value);
  }
  task->encode_arguments(writer);
  call.arguments = writer.out.take();
  call.pins = std::move(writer.pins);
  call.kept = writer.take_kept();
  call.id = writer.id;
  return call;
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

void ProcessPool::State::make_channel(ProcessLane& lane, std::uint32_t num_slots) {
  lane.offset = store->allocate(TaskChannel::bytes_for(num_slots));
  lane.channel = reinterpret_cast<TaskChannel*>(store->arena().at(lane.offset));
  std::memset(static_cast<void*>(lane.channel), 0, TaskChannel::bytes_for(num_slots));
  lane.channel->num_slots = num_slots;
}

LaneId ProcessPool::State::open_lane(const LaneOptions& lane_options, std::string name, ProcessActor* actor) {
  ProcessLane lane{.actor = actor, .name = std::move(name)};
  make_channel(lane, lane_options.num_slots);
  const LaneId id = scheduler.open_lane(lane_options, todo);
  if (id >= lanes.size()) lanes.resize(id + 1);
  lanes[id] = std::move(lane);
  std::vector<CallEnd> none;
  carry_out(none);
  return id;
}

void ProcessPool::State::submit(LaneId lane, ProcessCall call, std::vector<CallEnd>& ends) {
  const Task& task = *call.task;
  const ProcessActor* actor = lanes[lane].actor;
  const CallOptions call_options{
      .retries = actor == nullptr ? task.options().retries : actor->options().max_task_retries,
      .constructor = task.function().destroy_actor != nullptr,
      .last = task.function().ends_actor,
      .cancelled = task.cancel_requested(),
  };
  const CallId id = scheduler.submit(lane, call_options, todo);
  calls.reach(id);
  calls[id] = std::move(call);
  carry_out(ends);
}

void ProcessPool::State::carry_out(std::vector<CallEnd>& ends, const WorkerDeath* death) {
  // Some of it makes the scheduler decide more.
  for (std::size_t i = 0; i < todo.size(); ++i) {
    const Decision decision = todo[i];
    ProcessLane& lane = lanes[decision.lane];
    switch (decision.kind) {
      case Decision::Kind::place:
        place(decision, ends);
        break;
      case Decision::Kind::withdraw:
        withdraw(decision);
        break;
      case Decision::Kind::interrupt:
        lane.channel->slots[decision.slot].cancelled.store(1);
        break;
      case Decision::Kind::fail: {
        std::exception_ptr error = failure(decision, death);
        ProcessCall call = std::exchange(calls[decision.call], {});
        if (call.task != nullptr) ends.push_back({.call = std::move(call), .failure = std::move(error)});
        break;
      }
      case Decision::Kind::remake:
        calls.reach(decision.call);
        calls[decision.call] = lane.actor->constructor();
        break;
      case Decision::Kind::clear_lane:
        clear_lane(lane);
        break;
      case Decision::Kind::actor_died:
        if (lane.actor != nullptr) lane.actor->die(failure(decision, death));
        break;
      case Decision::Kind::start_worker:
        start_worker(decision);
        break;
      case Decision::Kind::end_worker:
        kill(decision.worker);
        break;
      case Decision::Kind::free_lane:
        store->free(lane.offset, TaskChannel::bytes_for(lane.channel->num_slots));
        lane = {};
        break;
    }
  }
  todo.clear();
  if (scheduler.stopping() && scheduler.num_placed() == 0) drained.notify_all();
}

std::exception_ptr ProcessPool::State::failure(const Decision& decision, const WorkerDeath* death) {
  ProcessActor* actor = lanes[decision.lane].actor;
  const auto died = [&](const std::string& who) -> std::exception_ptr {
    if (death == nullptr) return std::make_exception_ptr(WorkerDiedError(who + " has ended", 0, 0, {}));
    return std::make_exception_ptr(describe_death(who, death->exit, death->last_stderr));
  };
  switch (decision.reason) {
    case FailReason::cancelled:
      return std::make_exception_ptr(CancelledError("it was cancelled before it ran"));
    case FailReason::interrupted:
      return std::make_exception_ptr(CancelledError("it was cancelled while it ran"));
    case FailReason::stopped:
      return std::make_exception_ptr(
          CancelledError("the runtime was shut down before it ran", "get what you need before the Runtime's end"));
    case FailReason::worker_died: {
      const ProcessCall& call = calls[decision.call];
      const std::string name = call.task == nullptr ? "the actor's constructor" : call.task->display_name();
      return died(decision.attempts == 0
                      ? name
                      : fmt::format("{} (attempt {} of {})", name, decision.attempts + 1, decision.attempts + 1));
    }
    case FailReason::actor_died:
      if (decision.kind == Decision::Kind::fail && actor != nullptr && death == nullptr && actor->death() != nullptr) {
        return actor->death();
      }
      return died(actor == nullptr ? "the actor" : fmt::format("actor {}", actor->title()));
    case FailReason::no_worker:
      if (death != nullptr && !death->not_started.empty()) {
        return std::make_exception_ptr(Error(ErrorCode::resource,
                                             fmt::format("no worker process could be started in {} attempts: {}",
                                                         CallScheduler::kMaxBarrenDeaths, death->not_started),
                                             "free memory or processes, or raise the limits (ulimit -u)"));
      }
      return died(fmt::format("{} workers in a row died before they had begun anything; the last one",
                              CallScheduler::kMaxBarrenDeaths));
  }
  return nullptr;
}

void ProcessPool::State::place(const Decision& decision, std::vector<CallEnd>& ends) {
  ProcessLane& lane = lanes[decision.lane];
  ProcessCall& call = calls[decision.call];
  TaskSlot& slot = lane.channel->slots[decision.slot];
  slot.cancelled.store(call.task != nullptr && call.task->cancel_requested() ? 1 : 0, std::memory_order_relaxed);
  slot.function = call.function;
  slot.size = call.arguments.size();
  slot.offset = 0;
  slot.result_offset.store(0, std::memory_order_relaxed);
  slot.begin.store(0, std::memory_order_relaxed);
  slot.num_frames = 0;
  slot.handles_offset.store(0, std::memory_order_relaxed);
  slot.id.store(call.id, std::memory_order_relaxed);
  if (call.arguments.size() <= TaskSlot::kInlineBytes) {
    std::memcpy(slot.bytes, call.arguments.data(), call.arguments.size());
  } else {
    try {
      slot.offset = store->allocate(call.arguments.size());
    } catch (...) {
      scheduler.refused(decision.lane, decision.slot, decision.turn, todo);
      ends.push_back({.call = std::exchange(call, {}), .failure = capture_task_failure()});
      return;
    }
    std::memcpy(store->arena().at(slot.offset), call.arguments.data(), call.arguments.size());
  }
  lane.channel->push(decision.slot, decision.turn);
}

void ProcessPool::State::withdraw(const Decision& decision) {
  TaskSlot& slot = lanes[decision.lane].channel->slots[decision.slot];
  std::uint64_t seen = slot.state.load();
  if (TaskSlot::kind_of(seen) == SlotState::ready &&
      slot.state.compare_exchange_strong(seen, TaskSlot::pack(decision.turn, kDriver, SlotState::running))) {
    free_slot(slot);
    scheduler.withdrawn(decision.lane, decision.slot, decision.turn, todo);
  } else {
    scheduler.not_withdrawn(decision.lane, decision.slot, decision.turn, TaskSlot::worker_of(slot.state.load()), todo);
  }
}

/// Gives back what a slot holds that no worker is at.
void ProcessPool::State::free_slot(TaskSlot& slot) {
  if (slot.offset != 0) store->free(slot.offset, slot.size);
  slot.offset = 0;
  slot.state.store(0, std::memory_order_relaxed);
}

void ProcessPool::State::clear_lane(ProcessLane& lane) {
  for (std::uint32_t index = 0; index < lane.channel->num_slots; ++index) {
    TaskSlot& slot = lane.channel->slots[index];
    if (TaskSlot::kind_of(slot.state.load()) != SlotState::free) free_slot(slot);
  }
  lane.channel->head.store(lane.channel->tail.load());
}

void ProcessPool::State::collect(LaneId id, std::vector<CallEnd>& ends) {
  TaskChannel& channel = *lanes[id].channel;
  bool any = false;
  for (std::uint32_t word = 0; word * 64 < channel.num_slots; ++word) {
    if (channel.done[word].load(std::memory_order_relaxed) == 0) continue;
    std::uint64_t bits = channel.done[word].exchange(0, std::memory_order_seq_cst);
    any = true;
    for (; bits != 0; bits &= bits - 1) {
      collect_slot(id, word * 64 + static_cast<std::uint32_t>(__builtin_ctzll(bits)), ends);
    }
  }
  if (!any) return;
  scheduler.refill(id, todo);
  carry_out(ends);
}

void ProcessPool::State::collect_slot(LaneId lane, std::uint32_t index, std::vector<CallEnd>& ends) {
  TaskSlot& slot = lanes[lane].channel->slots[index];
  const std::uint64_t state = slot.state.load(std::memory_order_acquire);
  const std::uint64_t offset = slot.result_offset.load(std::memory_order_relaxed);
  const std::uint64_t size = slot.result_size.load(std::memory_order_relaxed);
  const bool failed = TaskSlot::kind_of(state) == SlotState::failed;
  LateResult late;
  if (slot.num_frames != 0) {
    late.session = workers.at(TaskSlot::worker_of(state)).session;
    late.num_frames = slot.num_frames;
  }
  if (const std::uint64_t at = slot.handles_offset.load(std::memory_order_acquire); at != 0) {
    late.session = workers.at(TaskSlot::worker_of(state)).session;
    const auto* ids = reinterpret_cast<const std::uint64_t*>(store->arena().at(at));
    late.borrowed.assign(ids, ids + slot.num_borrowed);
    late.ids.assign(ids + slot.num_borrowed, ids + slot.num_borrowed + slot.num_inner);
    late.inner = std::make_shared<HeldHandles>(handles);
    store->free(at, sizeof(std::uint64_t) * (slot.num_borrowed + slot.num_inner));
  }
  const bool is_late =
      late.inner != nullptr || (late.session != nullptr && late.session->num_acted() < late.num_frames);
  std::string result;
  std::shared_ptr<const StoredObject> stored;
  if (offset != 0) {
    stored = store->adopt(offset, size, slot.result_reserved.load(std::memory_order_relaxed), late.inner);
  } else {
    result.assign(slot.bytes, size);
  }
  const std::int64_t begin = slot.begin.load(std::memory_order_relaxed);
  const std::int64_t ended = slot.end.load(std::memory_order_relaxed);
  free_slot(slot);
  const CallId id = scheduler.ended(lane, index, TaskSlot::turn_of(state), failed);
  Recorder* const record = recorder.load(std::memory_order_relaxed);
  if (record != nullptr && begin != 0 && id != kNoCall) [[unlikely]] {
    const Task* task = calls[id].task;
    const auto worker = workers.find(TaskSlot::worker_of(state));
    if (worker != workers.end()) {
      record->add(worker->second.process.pid, lanes[lane].name, task == nullptr ? "constructor" : task->display_name(),
                  begin, ended, failed);
    }
  }
  CallEnd end;
  if (id != kNoCall) end.call = std::exchange(calls[id], {});
  if (is_late) {
    late.end = std::move(end);
    late.failed = failed;
    late.bytes = std::move(result);
    late.stored = std::move(stored);
    late_results.push_back(std::move(late));
    wake_monitor();
    return;
  }
  if (id == kNoCall) return;
  take_result(end, failed, result, std::move(stored));
  ends.push_back(std::move(end));
}

void ProcessPool::State::take_result(CallEnd& end, bool failed, const std::string& bytes,
                                     std::shared_ptr<const StoredObject> stored) {
  if (failed) {
    end.failure = stored != nullptr ? decode_error(stored->pin().bytes()) : decode_error(bytes);
    return;
  }
  Task* task = end.call.task;
  if (task == nullptr) return;
  try {
    if (stored != nullptr) {
      task->take_stored(std::move(stored));
    } else {
      task->take_bytes(bytes);
    }
  } catch (...) {
    end.failure = capture_task_failure();
  }
}

void ProcessPool::State::complete(LateResult& late) {
  late.session->act(late.num_frames);
  for (const std::uint64_t id : late.borrowed) {
    late.session->borrow(id & ~kPinnedHandle, (id & kPinnedHandle) != 0);
  }
  for (const std::uint64_t id : late.ids) {
    if (late.session->hand_over(id)) late.inner->adopt(id);
  }
  take_result(late.end, late.failed, late.bytes, std::move(late.stored));
}

void ProcessPool::State::start_worker(const Decision& decision) {
  const ProcessLane& lane = lanes[decision.lane];
  const std::string name = lane.actor == nullptr ? fmt::format("{} {}", lane.name, decision.slot) : lane.name;
  try {
    PoolWorker worker;
    worker.lane = decision.lane;
    worker.oom_kills = oom.num_kills();
    const std::uint32_t serial = next_serial++;
    control->parked[decision.worker].store(0);
    worker.process =
        start_worker_process({.role = std::string(kTaskWorkerRole),
                              .title = "mobula-worker: " + name,
                              .inherited = {store->arena().descriptor()},
                              .environment = lane.actor == nullptr ? Variables{} : lane.actor->options().environment});
    worker.standard_error = StderrTail(name, worker.process.pid);
    const std::uint32_t num_threads =
        lane.actor == nullptr ? 1 : static_cast<std::uint32_t>(lane.actor->num_calls_at_once());
    const std::string start = mobula::encode(TaskWorkerStart{.name = name,
                                                             .shared_memory = store->arena().descriptor(),
                                                             .channel = lane.offset,
                                                             .worker = decision.worker,
                                                             .num_threads = num_threads,
                                                             .serial = serial,
                                                             .lends = lane.actor == nullptr});
    write_fully(worker.process.socket.get(), encode_frame(static_cast<std::uint8_t>(ToWorker::start), start));
    worker.session = std::make_shared<WorkerSession>(
        WorkerSession::Host{.engine = engine,
                            .store = store,
                            .handles = handles,
                            .find_actor = find_actor,
                            .blocked = [this, id = decision.worker](bool waits) { worker_waits(id, waits); },
                            .output_waits = [this] { wake_monitor(); },
                            .running = [this, id = decision.worker] { return running_in(id); }},
        worker.process.socket.get());
    workers.emplace(decision.worker, std::move(worker));
  } catch (const std::exception& error) {
    // The monitor tells the scheduler, which tries again, some time.
    log_error("{} could not be started: {}", name, error.what());
    not_started.emplace_back(decision.worker, error.what());
  }
  wake_monitor();
}

void ProcessPool::State::kill(WorkerId worker) const {
  const auto found = workers.find(worker);
  if (found == workers.end()) return;
  syscall(SYS_pidfd_send_signal, found->second.process.exited.get(), SIGKILL, nullptr, 0);
}

void ProcessPool::State::add_active_worker() {
  TaskChannel& channel = *lanes[tasks].channel;
  // Somebody who was to stop goes on, or somebody who has stopped, or a new one comes.
  std::uint32_t surplus = channel.surplus.load();
  while (surplus != 0) {
    if (channel.surplus.compare_exchange_weak(surplus, surplus - 1)) return;
  }
  for (const auto& [id, worker] : workers) {
    std::uint32_t yes = 1;
    if (worker.lane != tasks || !control->parked[id].compare_exchange_strong(yes, 0)) continue;
    futex_wake(&control->parked[id], 1, FutexScope::shared);
    return;
  }
  scheduler.add_worker(tasks, todo);
}

void ProcessPool::State::remove_active_worker() {
  lanes[tasks].channel->surplus.fetch_add(1);
}

void ProcessPool::State::worker_waits(WorkerId id, bool waits) {
  std::vector<std::function<void(bool)>> lenders;
  {
    std::lock_guard lock(mutex);
    const auto found = workers.find(id);
    if (found == workers.end() || scheduler.stopping()) return;
    found->second.waits = waits;
    if (waits) {
      add_active_worker();
    } else {
      remove_active_worker();
    }
    TaskChannel& channel = *lanes[tasks].channel;
    for (std::uint32_t index = 0; index < channel.num_slots; ++index) {
      const std::uint64_t state = channel.slots[index].state.load();
      if (TaskSlot::kind_of(state) != SlotState::running || TaskSlot::worker_of(state) != id) continue;
      const CallId call = scheduler.call_in(tasks, index);
      if (call != kNoCall && calls[call].lend) lenders.push_back(calls[call].lend);
    }
    std::vector<CallEnd> none;
    carry_out(none);
  }
  for (const auto& lend : lenders) lend(waits);
}

std::vector<Task*> ProcessPool::State::running_in(WorkerId id) {
  std::vector<std::pair<std::uint32_t, Task*>> found;
  {
    std::lock_guard lock(mutex);
    const auto worker = workers.find(id);
    if (worker == workers.end()) return {};
    const LaneId lane_id = worker->second.lane;
    const ProcessLane& lane = lanes[lane_id];
    if (lane.actor != nullptr && lane.actor->concurrent()) return {};
    for (std::uint32_t index = 0; index < lane.channel->num_slots; ++index) {
      const std::uint64_t state = lane.channel->slots[index].state.load(std::memory_order_acquire);
      if (TaskSlot::kind_of(state) != SlotState::running || TaskSlot::worker_of(state) != id) continue;
      const CallId call = scheduler.call_in(lane_id, index);
      Task* const task = call == kNoCall ? nullptr : calls[call].task;
      if (task == nullptr) continue;
      task->retain();
      found.emplace_back(TaskSlot::turn_of(state), task);
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<Task*> tasks;
  tasks.reserve(found.size());
  for (const auto& [turn, task] : found) tasks.push_back(task);
  return tasks;
}

std::shared_ptr<WorkerSession> ProcessPool::State::worker_ended(WorkerId id, std::vector<CallEnd>& ends) {
  PoolWorker& dying = workers.at(id);
  WorkerExit exit = reap_worker_process(dying.process);
  exit.out_of_memory = exit.signal == SIGKILL && oom.explains_death(dying.oom_kills);
  if (dying.stderr_open) dying.standard_error.forward(dying.process.standard_error.get());
  const WorkerDeath death{exit, dying.standard_error.last_lines(), {}};
  TaskChannel& channel = *lanes[dying.lane].channel;
  // What it had finished is finished, whether it came to say so or not.
  for (std::uint32_t index = 0; index < channel.num_slots; ++index) {
    const std::uint64_t state = channel.slots[index].state.load();
    const SlotState kind = TaskSlot::kind_of(state);
    if (TaskSlot::worker_of(state) != id || (kind != SlotState::succeeded && kind != SlotState::failed)) continue;
    channel.done[index / 64].fetch_or(std::uint64_t{1} << (index % 64));
  }
  collect(dying.lane, ends);
  dying.session->detach();
  const PoolWorker worker = std::move(dying);
  workers.erase(id);
  // The one that takes its place is not waiting, and has not stopped.
  if (worker.lane == tasks && (worker.waits || control->parked[id].exchange(0) != 0)) remove_active_worker();
  std::uint32_t spinner = id;
  channel.spinner.compare_exchange_strong(spinner, 0);
  if (scheduler.num_workers(worker.lane) == 1) channel.num_sleeping.store(0);
  std::vector<Placement> running;
  for (std::uint32_t index = 0; index < channel.num_slots; ++index) {
    TaskSlot& slot = channel.slots[index];
    const std::uint64_t state = slot.state.load();
    if (TaskSlot::kind_of(state) != SlotState::running || TaskSlot::worker_of(state) != id) continue;
    if (const std::uint64_t offset = slot.result_offset.load(); offset != 0) {
      store->free(offset, slot.result_reserved.load());
    }
    if (const std::uint64_t offset = slot.handles_offset.load(); offset != 0) {
      store->free(offset, sizeof(std::uint64_t) * (slot.num_borrowed + slot.num_inner));
    }
    free_slot(slot);
    running.push_back({index, TaskSlot::turn_of(state)});
  }
  scheduler.worker_ended(id, running, now(), todo);
  carry_out(ends, &death);
  // It may have been the one that was woken for a call.
  if (lanes[worker.lane].channel != nullptr) lanes[worker.lane].channel->wake_all();
  return worker.session;
}

}  // namespace mobula
