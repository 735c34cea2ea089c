#include "mobula/core/timer.hpp"

#include <pthread.h>

namespace mobula {

Timer::Id Timer::at(Clock::time_point time, std::function<void()> work) {
  std::lock_guard lock(mutex_);
  const Id id{time, next_++};
  if (stopping_) return id;
  const auto [place, fresh] = waiting_.emplace(id, std::move(work));
  if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
  if (place == waiting_.begin()) changed_.notify_all();
  return id;
}

bool Timer::cancel(const Id& id) {
  std::function<void()> dropped;  // outside the mutex: what it holds may have a destructor that comes back here
  std::lock_guard lock(mutex_);
  const auto found = waiting_.find(id);
  if (found == waiting_.end()) return false;
  dropped = std::move(found->second);
  waiting_.erase(found);
  return true;
}

void Timer::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable() && thread_.get_id() != std::this_thread::get_id()) thread_.join();
  std::map<Id, std::function<void()>> dropped;
  std::lock_guard lock(mutex_);
  dropped.swap(waiting_);
}

void Timer::loop() {
  pthread_setname_np(pthread_self(), "mobula-timer");
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (waiting_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto first = waiting_.begin();
    const Clock::time_point time = first->first.first;
    if (Clock::now() < time) {
      changed_.wait_until(lock, time);
      continue;
    }
    auto work = std::move(first->second);
    waiting_.erase(first);
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
}

}  // namespace mobula
