#include "mobula/core/local/resource_scheduler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <queue>

#include "mobula/core/errors.hpp"

namespace mobula {
namespace {

const std::string kCpu = "cpu";

/// Whole slots for an amount of processors.
int slots_for(Amount cpus) {
  return static_cast<int>((cpus.units() + 9999) / 10000);
}

}  // namespace

ResourceScheduler::ResourceScheduler(ResourceSet total, std::function<void(int)> request_slots,
                                     std::function<void(int)> return_slots)
    : request_slots_(std::move(request_slots)), return_slots_(std::move(return_slots)), total_(std::move(total)) {}

void ResourceScheduler::check(const ResourceSet& need, const std::string& who) const {
  std::lock_guard lock(mutex_);
  for (const auto& [name, amount] : need.amounts()) {
    if (amount < Amount{}) {
      throw_invalid(fmt::format("{}: asks for a negative amount of '{}' ({:g})", who, name, amount.value()));
    }
    if (total_.get(name) < amount) {
      ResourceSet has;
      has.set(name, total_.get(name));
      ResourceSet wants;
      wants.set(name, amount);
      throw ResourceError(fmt::format("{}: needs {}, but this machine has {} in all", who, wants.text(), has.text()),
                          fmt::format("ask for less, or start the runtime with more (it has {})", total_.text()));
    }
  }
}

std::uint64_t ResourceScheduler::acquire(ResourceSet need, std::function<void()> start,
                                         std::function<void(std::exception_ptr)> fail) {
  std::uint64_t number = 0;
  {
    std::lock_guard lock(mutex_);
    number = next_entry_++;
    Queue& queue = queues_[need.amounts()];
    queue.need = std::move(need);
    queue.waiting.push_back({number, std::move(start), std::move(fail)});
  }
  pump();
  return number;
}

bool ResourceScheduler::withdraw(std::uint64_t entry) {
  std::list<Entry> withdrawn;
  {
    std::lock_guard lock(mutex_);
    for (auto queue = queues_.begin(); queue != queues_.end() && withdrawn.empty(); ++queue) {
      std::list<Entry>& waiting = queue->second.waiting;
      const auto at = std::find_if(waiting.begin(), waiting.end(), [&](const Entry& e) { return e.number == entry; });
      if (at == waiting.end()) continue;
      withdrawn.splice(withdrawn.begin(), waiting, at);
      if (waiting.empty()) queues_.erase(queue);
      break;
    }
  }
  if (withdrawn.empty()) return false;
  pump();  // it kept resources from those behind it
  return true;
}

void ResourceScheduler::offer(const ResourceSet& more) {
  {
    std::lock_guard lock(mutex_);
    total_ += more;
  }
  pump();
}

void ResourceScheduler::retire(const ResourceSet& names, const ResourceSet& give_back,
                               const std::exception_ptr& error) {
  std::list<Entry> failed;
  {
    std::lock_guard lock(mutex_);
    failed = take_all([&](const Queue& queue) {
      const auto& amounts = queue.need.amounts();
      return std::any_of(amounts.begin(), amounts.end(),
                         [&](const auto& amount) { return names.amounts().contains(amount.first); });
    });
    retired_.push_back({names, give_back});
    settle_retired();
  }
  for (Entry& entry : failed) {
    if (entry.fail) entry.fail(error);
  }
  pump();
}

/// Takes what waits in some of the queues, oldest first; under the mutex.
std::list<ResourceScheduler::Entry> ResourceScheduler::take_all(const std::function<bool(const Queue&)>& which) {
  std::list<Entry> taken;
  for (auto queue = queues_.begin(); queue != queues_.end();) {
    const auto at = queue++;
    if (!which(at->second)) continue;
    taken.splice(taken.end(), at->second.waiting);
    queues_.erase(at);
  }
  taken.sort([](const Entry& a, const Entry& b) { return a.number < b.number; });
  return taken;
}

/// Under the mutex.
void ResourceScheduler::settle_retired() {
  std::erase_if(retired_, [&](const Retired& retired) {
    for (const auto& [name, amount] : retired.names.amounts()) {
      if (used_.get(name) != Amount{}) return false;
    }
    for (const auto& [name, amount] : retired.names.amounts()) total_.set(name, Amount{});
    used_ -= retired.give_back;
    return true;
  });
}

void ResourceScheduler::release(const ResourceSet& need) {
  {
    std::lock_guard lock(mutex_);
    used_ -= need;
    if (!retired_.empty()) settle_retired();
  }
  pump();
}

void ResourceScheduler::take_back(const ResourceSet& need) {
  {
    std::lock_guard lock(mutex_);
    used_ += need;
  }
  pump();
}

void ResourceScheduler::slot_granted() {
  {
    std::lock_guard lock(mutex_);
    --requested_slots_;
    ++held_slots_;
  }
  pump();
}

void ResourceScheduler::pump() {
  std::vector<std::function<void()>> start;
  int to_request = 0;
  int to_return = 0;
  {
    std::lock_guard lock(mutex_);
    ResourceSet promised = used_;  // used, or waited for by somebody earlier
    const int num_slots = slots_for(total_.get(kCpu));
    // The oldest of all queues first. A queue whose oldest has to wait for resources is left: that one's need alone is
    // kept from those that came after it, so that it starts in the end, and those behind it keep nothing from others.
    struct Candidate {
      Queues::iterator queue;
      std::list<Entry>::iterator entry;
      bool operator<(const Candidate& other) const { return entry->number > other.entry->number; }
    };
    std::priority_queue<Candidate> candidates;
    for (auto queue = queues_.begin(); queue != queues_.end(); ++queue) {
      candidates.push({queue, queue->second.waiting.begin()});
    }
    while (!candidates.empty()) {
      const Candidate candidate = candidates.top();
      candidates.pop();
      Queue& queue = candidate.queue->second;
      promised += queue.need;
      bool fits = true;
      for (const auto& [name, amount] : queue.need.amounts()) fits = fits && promised.get(name) <= total_.get(name);
      if (!fits) continue;
      auto next = std::next(candidate.entry);
      // Where only slots of the thread pool are missing, they are asked for, for as many as have room.
      if (queue.need.get(kCpu) == Amount{} || slots_for(promised.get(kCpu)) <= held_slots_) {
        used_ += queue.need;
        start.push_back(std::move(candidate.entry->start));
        next = queue.waiting.erase(candidate.entry);
      }
      if (next != queue.waiting.end()) {
        candidates.push({candidate.queue, next});
      } else if (queue.waiting.empty()) {
        queues_.erase(candidate.queue);
      }
    }
    const int wanted = std::min(slots_for(promised.get(kCpu)), num_slots);
    to_request = std::max(0, wanted - held_slots_ - requested_slots_);
    requested_slots_ += to_request;
    to_return = std::max(0, held_slots_ - std::max(wanted, slots_for(used_.get(kCpu))));
    held_slots_ -= to_return;
    holds_every_slot_.store(num_slots > 0 && held_slots_ >= num_slots, std::memory_order_release);
  }
  for (auto& work : start) work();
  if (to_return > 0) return_slots_(to_return);
  if (to_request > 0) request_slots_(to_request);
}

void ResourceScheduler::stop() {
  std::list<Entry> left;
  {
    std::lock_guard lock(mutex_);
    left = take_all([&](const Queue& queue) {
      for (std::size_t i = 0; i < queue.waiting.size(); ++i) used_ += queue.need;
      return true;
    });
  }
  for (auto& entry : left) entry.start();
}

std::size_t ResourceScheduler::num_waiting() const {
  std::lock_guard lock(mutex_);
  std::size_t all = 0;
  for (const auto& [need, queue] : queues_) all += queue.waiting.size();
  return all;
}

ResourceSet ResourceScheduler::total() const {
  std::lock_guard lock(mutex_);
  return total_;
}

ResourceSet ResourceScheduler::available() const {
  std::lock_guard lock(mutex_);
  ResourceSet left = total_;
  left -= used_;
  return left;
}

void ElasticThreads::run(std::function<void()> work) {
  std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  if (num_idle_ < queue_.size()) threads_.emplace_back([this] { loop(); });
  changed_.notify_one();
}

void ElasticThreads::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++num_idle_;
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    --num_idle_;
    if (queue_.empty()) return;
    auto work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
}

void ElasticThreads::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::size_t i = 0;; ++i) {
    std::thread thread;
    {
      std::lock_guard lock(mutex_);
      if (i >= threads_.size()) break;
      thread = std::move(threads_[i]);
    }
    thread.join();
  }
  threads_.clear();
}

}  // namespace mobula
