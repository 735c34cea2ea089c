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

/// Whoever waits keeps what it waits for, and runs itself: none of these end while they are here.
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
  const ActorCore* actor = task->actor();
  if (own != all.end() || actor == nullptr || task->claimed() || actor->options().concurrency != 1 ||
      !actor->options().groups.empty()) {
    return own;
  }
  return std::find_if(all.begin(), all.end(), [&](const auto& wait) { return wait.first->actor() == actor; });
}

}  // namespace

NotedWait::NotedWait(Object& object) : waiter_(current_task()) {
  if (waiter_ == nullptr) return;
  Waits& all = waits();
  std::lock_guard lock(all.mutex);
  all.objects[waiter_] = &object;
  std::vector<const Task*> chain{waiter_};
  for (auto at = awaited_by(all.objects, object); at != all.objects.end() && chain.size() <= all.objects.size();
       at = awaited_by(all.objects, *at->second)) {
    chain.push_back(at->first);
    if (at->first != waiter_) continue;
    all.objects.erase(waiter_);
    std::string circle = chain.front()->display_name();
    for (std::size_t i = 1; i < chain.size(); ++i) circle += " waits for " + chain[i]->display_name();
    throw_invalid("this wait would never end: " + circle,
                  "pass Refs on as arguments, or return them, instead of waiting inside; or give the wait a timeout");
  }
}

NotedWait::~NotedWait() {
  if (waiter_ == nullptr) return;
  Waits& all = waits();
  std::lock_guard lock(all.mutex);
  all.objects.erase(waiter_);
}

}  // namespace mobula
