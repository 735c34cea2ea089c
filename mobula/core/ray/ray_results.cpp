// Results of a cluster's tasks: asked for, waited for, and made again where a worker died.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/core/errors.hpp"
#include "mobula/core/ray/ray_actor.hpp"
#include "mobula/core/ray/ray_engine.hpp"
#include "mobula/core/ray/ray_outgoing.hpp"
#include "mobula/core/task_group.hpp"

namespace mobula {
namespace {

using Clock = std::chrono::steady_clock;

/// Ray is asked in turns of this length, so that the end of the program does not wait for a result that never comes.
constexpr int kTurnMs = 500;
constexpr int kWatchTurnMs = 5;

std::string context_of(const Task& task) {
  return fmt::format("{}, called by {}", task.display_name(), task.caller == nullptr ? "the program" : task.caller);
}

/// Returns how long until `deadline`, for Ray: at most a turn.
int turn_until(Clock::time_point deadline) {
  if (deadline == Clock::time_point::max()) return kTurnMs;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, kTurnMs));
}

}  // namespace

void RayEngine::settle(Object& object, const RayBuffer& frame) {
  const std::string_view bytes(frame.data, frame.size);
  std::exception_ptr error;
  try {
    error = ray_frame_error(bytes);
  } catch (...) {
    error = std::current_exception();
  }
  if (error != nullptr) {
    connection_->bridge().release(frame.owner);
    fail(object, std::move(error));
    return;
  }
  // Several threads may have asked for one result: the first one's answer counts.
  const auto stored = ray_object(object);
  stored->keep(frame);
  if (!claim(object)) return;
  stored->drop_actor();
  TaskGroup* group = nullptr;
  if (Task* task = object.task()) {
    task->drop_arguments();
    group = task->group;
  }
  object.complete();
  if (group != nullptr) group->finished(1);
}

bool RayEngine::claim(Object& object) {
  Task* task = object.task();
  return task != nullptr ? task->claim() : ray_object(object)->claim();
}

void RayEngine::fail(Object& object, std::exception_ptr error) {
  if (!claim(object)) return;
  if (const auto stored = ray_object(object)) stored->drop_actor();
  TaskGroup* group = nullptr;
  if (Task* task = object.task()) {
    task->drop_arguments();
    group = task->group;
  }
  if (group != nullptr) group->fail(error);
  object.complete_with(std::move(error));
  if (group != nullptr) group->finished(1);
}

bool RayEngine::call_again(RayActor& actor, Task& failed, const RayId& id) {
  std::lock_guard order(actor.order);
  const auto object = ray_object(failed);
  if (std::memcmp(object->id().bytes, id.bytes, id.size) != 0) return true;  // with another one that failed
  actor.suspect();
  if (!actor.alive()) return false;
  if (object->num_attempts() > actor.options().max_task_retries) {
    actor.note_whether_gone();
    return false;
  }
  actor.await_restart();
  // Calls that had been made keep their results, those after them are made again in their order.
  std::vector<Task*> again;
  for (Task* task : actor.pending) {
    if (task->ready()) continue;
    const RayId waiting = ray_object(*task)->id();
    RayBuffer frame{};
    RayFailure failure{};
    connection_->while_open([&](const RayBridge& bridge) { bridge.get(&waiting, kTurnMs, &frame, &failure); });
    if (failure.kind == kRayNone && is_ray_frame({frame.data, frame.size})) {
      settle(*task, frame);
      continue;
    }
    if (failure.kind == kRayNone) connection_->bridge().release(frame.owner);
    again.push_back(task);
  }
  for (Task* task : again) {
    const auto lost = ray_object(*task);
    if (lost->num_attempts() > actor.options().max_task_retries) continue;
    lost->count_attempt();
    Outgoing call = outgoing(*task);
    lost->replace(send(*task, call, lost->num_attempts()));
  }
  return true;
}

bool RayEngine::try_again(Task& task, const RayFailure& failure, const RayId& id) {
  if (failure.kind != kRayWorkerDied && failure.kind != kRayActorDied && failure.kind != kRayObjectLost) return false;
  const auto object = ray_object(task);
  if (task.actor() != nullptr) return call_again(*static_cast<RayActor*>(task.actor()), task, id);
  const int times = object->num_attempts();
  if (attempts_left(task, times) <= 0) return false;
  object->count_attempt();
  // What it depends on may have been lost with the same worker.
  std::exception_ptr dependency;
  while (Object* missing = task.unready_dependency(dependency)) {
    wait(&missing, 1, 1, std::chrono::nanoseconds(-1));
  }
  if (dependency != nullptr) {
    fail(task, dependency);
    return true;
  }
  Outgoing call = outgoing(task);
  call.needs = needs_of(task.options());
  call.group = group_of(task.options().placement);
  call.bundle = task.options().placement.index;
  object->replace(send(task, call, times));
  return true;
}

bool RayEngine::fetch(Object& object, int timeout_ms) {
  const auto stored = ray_object(object);
  const RayId id = stored->id();
  RayBuffer frame{};
  RayFailure failure{};
  timeout_ms = std::min(timeout_ms, turn_until(stored->deadline()));
  const bool open =
      connection_->while_open([&](const RayBridge& bridge) { bridge.get(&id, timeout_ms, &frame, &failure); });
  if (!open) throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "get what you need before its end");
  if (failure.kind == kRayTimeout) {
    if (Clock::now() < stored->deadline()) return false;
    fail(object, std::make_exception_ptr(TimeoutError(
                     fmt::format("{} has not ended in the {:g} s of its timeout", object.task()->display_name(),
                                 std::chrono::duration<double>(object.task()->options().timeout).count()),
                     "give it more time; on Ray it goes on, though nobody gets its result")));
    return true;
  }
  if (failure.kind == kRayNone && is_ray_frame({frame.data, frame.size})) {
    settle(object, frame);
    return true;
  }
  Task* task = object.task();
  if (failure.kind == kRayNone) {
    connection_->bridge().release(frame.owner);
    // Without a message: throw_ray_failure() says what a death without one is.
    failure.kind = task != nullptr && task->actor() != nullptr ? kRayActorDied : kRayWorkerDied;
  }
  if (task == nullptr) {
    try {
      throw_ray_failure(failure, "an object that another process made");
    } catch (...) {
      fail(object, std::current_exception());
    }
    return true;
  }
  try {
    if (try_again(*task, failure, id)) return task->ready();
    throw_ray_failure(failure, task->display_name());
  } catch (...) {
    fail(object, with_context(std::current_exception(), context_of(*task)));
  }
  return true;
}

void RayEngine::wait(Object* const* objects, std::size_t count, std::size_t wanted, std::chrono::nanoseconds timeout) {
  const auto now = Clock::now();
  const auto deadline =
      timeout.count() < 0 || timeout > Clock::time_point::max() - now ? Clock::time_point::max() : now + timeout;
  if (count == 1) {
    for (;;) {
      if ((*objects)->ready()) return;
      const int turn = turn_until(deadline);
      if (!fetch(**objects, turn) && turn == 0) return;
    }
  }
  std::vector<Object*> pending;
  std::vector<RayId> ids;
  const auto ready = std::make_unique<bool[]>(count);
  // The first look takes all that is there at once, so that results are not waited for one by one.
  for (bool first = true;; first = false) {
    pending.clear();
    ids.clear();
    for (std::size_t i = 0; i < count; ++i) {
      if (objects[i]->ready()) continue;
      pending.push_back(objects[i]);
      ids.push_back(ray_object(*objects[i])->id());
    }
    const std::size_t num_ready = count - pending.size();
    if (num_ready >= wanted) return;
    const int turn = first ? 0 : turn_until(deadline);
    RayFailure failure{};
    const bool open = connection_->while_open([&](const RayBridge& bridge) {
      bridge.wait(ids.data(), ids.size(), first ? ids.size() : wanted - num_ready, turn, ready.get(), &failure);
    });
    if (!open)
      throw Error(ErrorCode::unavailable, "the Runtime has been shut down", "get what you need before its end");
    if (failure.kind != kRayNone && failure.kind != kRayTimeout) throw_ray_failure(failure, "waiting for results");
    for (std::size_t i = 0; i < pending.size(); ++i) {
      if (failure.kind == kRayNone && ready[i]) {
        fetch(*pending[i], kTurnMs);
      } else if (Clock::now() >= ray_object(*pending[i])->deadline()) {
        fetch(*pending[i], 0);
      }
    }
    if (!first && turn == 0) return;
    if (first && Clock::now() >= deadline) return;
  }
}

void RayEngine::watch(Object* object) {
  if (ray_object(*object) == nullptr) return;
  object->retain();
  std::lock_guard lock(watch_mutex_);
  watched_.push_back(object);
  if (!watcher_.joinable()) watcher_ = std::thread([this] { watch_objects(); });
  watch_changed_.notify_one();
}

void RayEngine::watch_objects() {
  pthread_setname_np(pthread_self(), "mobula-ray");
  while (!stopping_.load()) {
    std::vector<Object*> objects;
    {
      std::unique_lock lock(watch_mutex_);
      watch_changed_.wait(lock, [&] { return stopping_.load() || !watched_.empty(); });
      objects = watched_;
    }
    if (stopping_.load() || objects.empty()) continue;
    try {
      wait(objects.data(), objects.size(), 1, std::chrono::milliseconds(kWatchTurnMs));
    } catch (const Error&) {
      return;  // the connection is closed
    }
    std::vector<Object*> done;
    {
      std::lock_guard lock(watch_mutex_);
      const auto ended = std::stable_partition(watched_.begin(), watched_.end(),
                                               [](const Object* object) { return !object->ready(); });
      done.assign(ended, watched_.end());
      watched_.erase(ended, watched_.end());
    }
    for (Object* object : done) object->release();
  }
}

}  // namespace mobula
