#include "mobula/core/noted_wait.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "mobula/core/actor_core.hpp"
#include "mobula/core/engine.hpp"

namespace mobula {
namespace {

/// Whoever waits keeps what it waits for, and its NotedWait keeps whoever waits: none of these end while they are here.
struct Waits {
  std::mutex mutex;
  std::map<const Task*, Object*> objects;
};

Waits& waits() {
  static Waits* const all = new Waits;
  return *all;
}

/// Returns the wait that has to end before `object` can be ready, where one is known. Under the mutex.
auto awaited_by(const std::map<const Task*, Object*>& all, Object& object) {
  const Task* task = object.task();
  if (task == nullptr || object.ready()) return all.end();
  const auto own = all.find(task);
  ActorCore* actor = task->actor();
  if (own != all.end() || actor == nullptr || actor->concurrent()) return own;
  // One that has begun waits for none; on its way to a worker process a call is claimed before it begins, but where
  // another call of its actor waits it hasn't.
  if (task->cancel_requested() || (actor->local() != nullptr && task->claimed())) return own;
  return std::find_if(all.begin(), all.end(), [&](const auto& wait) { return wait.first->actor() == actor; });
}

}  // namespace

NotedWait::NotedWait(Object& object) {
  if (const auto tell = wait_teller.load(std::memory_order_acquire)) tell(object);
  Task* const running = current_task();
  if (running == nullptr) return;
  running->retain();
  waiters_.push_back(running);
  note(object);
}

NotedWait::NotedWait(std::vector<Task*> waiters, Object& object) : waiters_(std::move(waiters)) {
  if (!waiters_.empty()) note(object);
}

void NotedWait::note(Object& object) {
  Waits& all = waits();
  std::string circle;
  {
    std::lock_guard lock(all.mutex);
    for (const Task* waiter : waiters_) all.objects[waiter] = &object;
    std::vector<const Task*> chain{waiters_.back()};
    for (auto at = awaited_by(all.objects, object); at != all.objects.end() && chain.size() <= all.objects.size();
         at = awaited_by(all.objects, *at->second)) {
      chain.push_back(at->first);
      if (std::find(waiters_.begin(), waiters_.end(), at->first) == waiters_.end()) continue;
      circle = chain.front()->display_name();
      for (std::size_t i = 1; i < chain.size(); ++i) circle += " waits for " + chain[i]->display_name();
      break;
    }
  }
  if (circle.empty()) return;
  forget();
  throw_invalid("this wait would never end: " + circle,
                "pass Refs on as arguments, or return them, instead of waiting inside; or give the wait a timeout");
}

void NotedWait::forget() noexcept {
  Waits& all = waits();
  {
    std::lock_guard lock(all.mutex);
    for (const Task* waiter : waiters_) all.objects.erase(waiter);
  }
  for (Task* waiter : waiters_) waiter->release();
  waiters_.clear();
}

NotedWait::~NotedWait() {
  if (!waiters_.empty()) forget();
}

}  // namespace mobula
