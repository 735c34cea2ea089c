#include "mobula/core/local/call_scheduler.hpp"

#include <algorithm>
#include <utility>

namespace mobula {
namespace {

/// How long a worker's start is put off after that many deaths in a row of workers that had begun nothing: the first
/// time not at all, then 10 ms, doubled each time, up to 5 s.
CallScheduler::Time start_delay(int barren_deaths) {
  if (barren_deaths <= 1) return CallScheduler::Time{0};
  return std::min(CallScheduler::Time{10} * (1 << std::min(barren_deaths - 2, 20)), CallScheduler::Time{5000});
}

}  // namespace

const char* to_string(FailReason reason) noexcept {
  switch (reason) {
    case FailReason::cancelled:
      return "cancelled";
    case FailReason::interrupted:
      return "interrupted";
    case FailReason::worker_died:
      return "worker_died";
    case FailReason::actor_died:
      return "actor_died";
    case FailReason::no_worker:
      return "no_worker";
    case FailReason::stopped:
      return "stopped";
  }
  return "unknown";
}

LaneId CallScheduler::open_lane(const LaneOptions& options, Decisions& todo) {
  LaneId id = 0;
  if (free_lanes_.empty()) {
    id = static_cast<LaneId>(lanes_.size());
    lanes_.emplace_back();
  } else {
    id = free_lanes_.back();
    free_lanes_.pop_back();
  }
  lanes_[id] = std::make_unique<Lane>();
  Lane& lane = *lanes_[id];
  lane.options = options;
  lane.slots.resize(options.num_slots);
  for (std::uint32_t slot = options.num_slots; slot > 0; --slot) lane.free_slots.push_back(slot - 1);
  for (std::uint32_t place = 0; place < options.num_workers; ++place) start_worker(id, place, todo);
  return id;
}

void CallScheduler::start_actor(LaneId id, Decisions& todo) {
  const Lane& lane = *lanes_[id];
  if (lane.dead || lane.closing || stopping_) return;
  start_worker(id, 0, todo);
}

void CallScheduler::close_lane(LaneId id, Decisions& todo) {
  Lane& lane = *lanes_[id];
  lane.closing = true;
  lane.starts.clear();
  for (const WorkerId worker : lane.workers) {
    workers_[worker].expected = true;
    todo.push_back({.kind = Decision::Kind::end_worker, .lane = id, .worker = worker});
  }
  if (lane.workers.empty()) free_lane(id, todo);
}

void CallScheduler::free_lane(LaneId id, Decisions& todo) {
  Lane& lane = *lanes_[id];
  // At most a constructor that was being made again is left: nobody waits for it.
  for (Slot& slot : lane.slots) {
    if (slot.call != kNoCall) release_call(std::exchange(slot.call, kNoCall)), --num_placed_;
  }
  for (const CallId call : lane.backlog) {
    if (calls_[call].live) --num_calls_;
    calls_[call] = {};
    free_calls_.push_back(call);
  }
  todo.push_back({.kind = Decision::Kind::free_lane, .lane = id});
  lanes_[id] = nullptr;
  free_lanes_.push_back(id);
}

CallId CallScheduler::new_call(LaneId lane, const CallOptions& options) {
  CallId id = 0;
  if (free_calls_.empty()) {
    id = num_numbers_++;
    calls_.reach(id);
  } else {
    id = free_calls_.back();
    free_calls_.pop_back();
  }
  Call& call = calls_[id];
  call.lane = lane;
  call.slot = kWaiting;
  call.retries = options.retries;
  call.attempts = 0;
  call.last = options.last;
  call.cancelled = options.cancelled;
  call.forced = false;
  call.live = true;
  ++num_calls_;
  return id;
}

void CallScheduler::release_call(CallId id) {
  calls_[id].live = false;
  --num_calls_;
  free_calls_.push_back(id);
}

CallId CallScheduler::submit(LaneId id, const CallOptions& options, Decisions& todo) {
  Lane& lane = *lanes_[id];
  const CallId call = new_call(id, options);
  if (options.constructor) {
    lane.constructor = call;
    lane.constructed = true;
  }
  if (lane.buried) [[unlikely]] {
    fail(call, FailReason::actor_died, todo);
    return call;
  }
  if (lane.workers.empty()) [[unlikely]] {
    // Once more: what kept the workers from starting may be mended by now.
    for (const std::uint32_t place : std::exchange(lane.given_up, {})) start_worker(id, place, todo);
  }
  // Nothing is handed out before the object exists that it is for.
  const bool no_object = lane.constructor != kNoCall && lane.constructor != call;
  if (lane.free_slots.empty() || !lane.backlog.empty() || no_object) {
    lane.backlog.push_back(call);
  } else {
    place(id, call, todo);
  }
  return call;
}

void CallScheduler::place(LaneId id, CallId call, Decisions& todo) {
  Lane& lane = *lanes_[id];
  const std::uint32_t slot = lane.free_slots.back();
  lane.free_slots.pop_back();
  lane.slots[slot] = {call, lane.next_turn};
  calls_[call].slot = slot;
  calls_[call].turn = lane.next_turn;
  ++num_placed_;
  todo.push_back({.kind = Decision::Kind::place, .lane = id, .slot = slot, .turn = lane.next_turn, .call = call});
  ++lane.next_turn;
}

CallId CallScheduler::take(Lane& lane, std::uint32_t index, std::uint32_t turn) {
  if (index >= lane.slots.size()) return kNoCall;
  Slot& slot = lane.slots[index];
  if (slot.call == kNoCall || !current(slot.turn, turn)) return kNoCall;
  --num_placed_;
  lane.free_slots.push_back(index);
  calls_[slot.call].slot = kWaiting;
  return std::exchange(slot.call, kNoCall);
}

CallId CallScheduler::ended(LaneId id, std::uint32_t slot, std::uint32_t turn, bool failed) {
  if (id >= lanes_.size() || lanes_[id] == nullptr) return kNoCall;
  Lane& lane = *lanes_[id];
  const CallId call = take(lane, slot, turn);
  if (call == kNoCall) return kNoCall;
  lane.barren_deaths = 0;
  if (call == lane.constructor) {
    lane.constructor = kNoCall;
    // The worker that could not make the object fails what was queued behind, and is not replaced.
    if (failed) lane.dead = true;
  }
  if (calls_[call].last && !failed) lane.dead = true;
  release_call(call);
  return call;
}

CallId CallScheduler::refused(LaneId id, std::uint32_t slot, std::uint32_t turn, Decisions& todo) {
  Lane& lane = *lanes_[id];
  const CallId call = take(lane, slot, turn);
  if (call == kNoCall) return kNoCall;
  release_call(call);
  if (call == lane.constructor) {
    lane.constructor = kNoCall;
    bury_actor(id, {}, FailReason::actor_died, todo);
  }
  refill(id, todo);
  return call;
}

void CallScheduler::refill(LaneId id, Decisions& todo) {
  Lane& lane = *lanes_[id];
  while (!lane.free_slots.empty() && !lane.backlog.empty()) {
    const CallId call = lane.backlog.front();
    if (lane.constructor != kNoCall && call != lane.constructor && !calls_[call].gone) return;
    lane.backlog.pop_front();
    if (calls_[call].gone) {
      calls_[call].gone = false;
      free_calls_.push_back(call);
    } else {
      place(id, call, todo);
    }
  }
}

void CallScheduler::fail(CallId id, FailReason reason, Decisions& todo) {
  Call& call = calls_[id];
  Lane& lane = *lanes_[call.lane];
  todo.push_back(
      {.kind = Decision::Kind::fail, .reason = reason, .attempts = call.attempts, .lane = call.lane, .call = id});
  release_call(id);
  if (id != lane.constructor) return;
  lane.constructor = kNoCall;
  lane.dead = true;
  if (reason == FailReason::cancelled) bury_actor(call.lane, {}, FailReason::actor_died, todo);
}

void CallScheduler::fail_waiting(Lane& lane, FailReason reason, Decisions& todo) {
  for (const CallId call : std::exchange(lane.backlog, {})) {
    if (calls_[call].gone) {
      calls_[call].gone = false;
      free_calls_.push_back(call);
    } else {
      fail(call, reason, todo);
    }
  }
}

void CallScheduler::cancel(CallId id, bool forced, Decisions& todo) {
  if (id >= num_numbers_ || !calls_[id].live) return;
  Call& call = calls_[id];
  call.cancelled = true;
  if (call.slot == kWaiting) {
    fail(id, FailReason::cancelled, todo);
    // Its number stays in the backlog, and can't be used again before it leaves it.
    free_calls_.pop_back();
    call.gone = true;
    return;
  }
  call.forced = forced;
  todo.push_back(
      {.kind = Decision::Kind::withdraw, .lane = call.lane, .slot = call.slot, .turn = call.turn, .call = id});
}

void CallScheduler::withdrawn(LaneId id, std::uint32_t slot, std::uint32_t turn, Decisions& todo) {
  Lane& lane = *lanes_[id];
  const CallId call = take(lane, slot, turn);
  if (call == kNoCall) return;
  fail(call, stopping_ && !calls_[call].cancelled ? FailReason::stopped : FailReason::cancelled, todo);
  refill(id, todo);
}

void CallScheduler::not_withdrawn(LaneId id, std::uint32_t slot, std::uint32_t turn, WorkerId runs_it,
                                  Decisions& todo) {
  const Lane& lane = *lanes_[id];
  const CallId call = lane.slots[slot].call;
  if (call == kNoCall || lane.slots[slot].turn != turn || !calls_[call].cancelled) return;
  todo.push_back({.kind = Decision::Kind::interrupt, .lane = id, .slot = slot, .turn = turn, .call = call});
  if (calls_[call].forced && workers_.contains(runs_it)) {
    todo.push_back({.kind = Decision::Kind::end_worker, .lane = id, .worker = runs_it});
  }
}

void CallScheduler::kill(LaneId id, Decisions& todo) {
  Lane& lane = *lanes_[id];
  lane.dead = true;
  if (lane.workers.empty()) bury_actor(id, {}, FailReason::actor_died, todo);
  for (const WorkerId worker : lane.workers) {
    todo.push_back({.kind = Decision::Kind::end_worker, .lane = id, .worker = worker});
  }
}

void CallScheduler::add_worker(LaneId id, Decisions& todo) {
  start_worker(id, lanes_[id]->options.num_workers++, todo);
}

void CallScheduler::start_worker(LaneId id, std::uint32_t place, Decisions& todo) {
  while (workers_.contains(next_worker_)) next_worker_ = next_worker_ % kMaxWorkers + 1;
  const WorkerId worker = next_worker_;
  next_worker_ = next_worker_ % kMaxWorkers + 1;
  workers_[worker] = {.lane = id, .place = place};
  lanes_[id]->workers.push_back(worker);
  todo.push_back({.kind = Decision::Kind::start_worker, .lane = id, .slot = place, .worker = worker});
}

void CallScheduler::replace_worker(LaneId id, std::uint32_t place, Time now, Decisions& todo) {
  Lane& lane = *lanes_[id];
  if (lane.barren_deaths >= kMaxBarrenDeaths) {
    lane.given_up.push_back(place);
    if (!lane.workers.empty() || !lane.starts.empty()) return;
    // One more death and the next call's workers are given up at once.
    lane.barren_deaths = kMaxBarrenDeaths - 1;
    todo.push_back({.kind = Decision::Kind::clear_lane, .lane = id, .turn = lane.next_turn});
    std::vector<CallId> placed;
    take_placed(lane, placed);
    for (const CallId call : placed) fail(call, FailReason::no_worker, todo);
    fail_waiting(lane, FailReason::no_worker, todo);
    return;
  }
  const Time delay = start_delay(lane.barren_deaths);
  if (delay == Time{0}) {
    start_worker(id, place, todo);
  } else {
    lane.starts.push_back({now + delay, place});
  }
}

void CallScheduler::worker_ended(WorkerId id, std::span<const Placement> running, Time now, Decisions& todo) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return;
  const Worker worker = found->second;
  workers_.erase(found);
  Lane& lane = *lanes_[worker.lane];
  std::erase(lane.workers, id);
  lane.barren_deaths = running.empty() ? lane.barren_deaths + 1 : 0;
  const bool final = stopping_ || worker.expected || lane.closing;
  const auto more_restarts = [&] {
    return !lane.dead && (lane.options.max_restarts < 0 || lane.restarts < lane.options.max_restarts);
  };
  std::vector<Placement> begun(running.begin(), running.end());
  std::sort(begun.begin(), begun.end(), [&](const Placement& a, const Placement& b) {
    return lane.next_turn - a.turn > lane.next_turn - b.turn;  // oldest first; turns may wrap around
  });
  std::vector<CallId> again;
  for (const Placement& placement : begun) {
    const CallId call = take(lane, placement.slot, placement.turn);
    if (call == kNoCall) continue;
    Call& known = calls_[call];
    if (known.cancelled) {
      fail(call, FailReason::interrupted, todo);
    } else if (call == lane.constructor && !final && more_restarts()) {
      again.push_back(call);  // the restart is what makes it run again
    } else if (!final && retry(known)) {
      ++known.attempts;
      again.push_back(call);
    } else {
      fail(call, FailReason::worker_died, todo);
    }
  }
  if (final) {
    if (lane.closing && lane.workers.empty()) free_lane(worker.lane, todo);
    return;
  }
  if (!lane.options.actor) {
    // They have waited for their turn once: they are the next.
    for (auto call = again.rbegin(); call != again.rend(); ++call) lane.backlog.push_front(*call);
    replace_worker(worker.lane, worker.place, now, todo);
    refill(worker.lane, todo);
    return;
  }
  if (!more_restarts()) {
    bury_actor(worker.lane, std::move(again), FailReason::actor_died, todo);
    return;
  }
  if (lane.barren_deaths >= kMaxBarrenDeaths) {
    bury_actor(worker.lane, std::move(again), FailReason::no_worker, todo);
    return;
  }
  ++lane.restarts;
  restart_actor(worker.lane, std::move(again), todo);
  replace_worker(worker.lane, worker.place, now, todo);
}

void CallScheduler::take_placed(Lane& lane, std::vector<CallId>& calls) {
  std::vector<Slot> placed;
  for (std::uint32_t slot = 0; slot < lane.slots.size(); ++slot) {
    if (lane.slots[slot].call == kNoCall) continue;
    placed.push_back(lane.slots[slot]);
    take(lane, slot, lane.slots[slot].turn);
  }
  std::sort(placed.begin(), placed.end(), [&](const Slot& a, const Slot& b) {
    return lane.next_turn - a.turn > lane.next_turn - b.turn;  // oldest first; turns may wrap around
  });
  for (const Slot& slot : placed) calls.push_back(slot.call);
}

void CallScheduler::restart_actor(LaneId id, std::vector<CallId> again, Decisions& todo) {
  Lane& lane = *lanes_[id];
  // What was handed out waits behind the constructor.
  std::vector<CallId> order = std::move(again);
  take_placed(lane, order);
  // The answer to a withdrawal that is under way would come for a turn that is over.
  std::erase_if(order, [&](CallId call) {
    if (!calls_[call].cancelled) return false;
    fail(call, FailReason::cancelled, todo);
    return true;
  });
  // A constructor that has not finished is the first of them, or of those that wait.
  if (lane.constructor == kNoCall && lane.constructed) {
    lane.constructor = new_call(id, {.constructor = true});
    todo.push_back({.kind = Decision::Kind::remake, .lane = id, .call = lane.constructor});
    order.insert(order.begin(), lane.constructor);
  }
  todo.push_back({.kind = Decision::Kind::clear_lane, .lane = id, .turn = lane.next_turn});
  for (auto call = order.rbegin(); call != order.rend(); ++call) lane.backlog.push_front(*call);
  refill(id, todo);
}

void CallScheduler::bury_actor(LaneId id, std::vector<CallId> again, FailReason reason, Decisions& todo) {
  Lane& lane = *lanes_[id];
  lane.dead = true;
  lane.buried = true;
  lane.starts.clear();
  for (const WorkerId worker : lane.workers) {
    todo.push_back({.kind = Decision::Kind::end_worker, .lane = id, .worker = worker});
  }
  todo.push_back({.kind = Decision::Kind::actor_died, .reason = reason, .lane = id});
  todo.push_back({.kind = Decision::Kind::clear_lane, .lane = id, .turn = lane.next_turn});
  take_placed(lane, again);
  for (const CallId call : again) fail(call, reason, todo);
  fail_waiting(lane, reason, todo);
}

void CallScheduler::tick(Time now, Decisions& todo) {
  for (LaneId id = 0; id < lanes_.size(); ++id) {
    if (lanes_[id] == nullptr) continue;
    std::vector<Start>& starts = lanes_[id]->starts;
    for (std::size_t i = 0; i < starts.size();) {
      if (starts[i].when > now) {
        ++i;
        continue;
      }
      const std::uint32_t place = starts[i].place;
      starts.erase(starts.begin() + static_cast<std::ptrdiff_t>(i));
      start_worker(id, place, todo);
    }
  }
}

std::optional<CallScheduler::Time> CallScheduler::next_tick() const {
  std::optional<Time> next;
  for (const auto& lane : lanes_) {
    if (lane == nullptr) continue;
    for (const Start& start : lane->starts) {
      if (!next || start.when < *next) next = start.when;
    }
  }
  return next;
}

void CallScheduler::stop(Decisions& todo) {
  stopping_ = true;
  for (LaneId id = 0; id < lanes_.size(); ++id) {
    if (lanes_[id] == nullptr) continue;
    Lane& lane = *lanes_[id];
    lane.starts.clear();
    fail_waiting(lane, FailReason::stopped, todo);
    for (std::uint32_t slot = 0; slot < lane.slots.size(); ++slot) {
      if (lane.slots[slot].call == kNoCall) continue;
      todo.push_back({.kind = Decision::Kind::withdraw,
                      .lane = id,
                      .slot = slot,
                      .turn = lane.slots[slot].turn,
                      .call = lane.slots[slot].call});
    }
  }
}

void CallScheduler::end_workers(Decisions& todo) {
  for (auto& [id, worker] : workers_) {
    worker.expected = true;
    todo.push_back({.kind = Decision::Kind::end_worker, .lane = worker.lane, .worker = id});
  }
}

}  // namespace mobula
