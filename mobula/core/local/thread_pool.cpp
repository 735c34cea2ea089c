#include "mobula/core/local/thread_pool.hpp"

#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/core/local/futex.hpp"
#include "mobula/core/task_group.hpp"

#ifdef __SANITIZE_THREAD__
// The queues' handshakes are atomic accesses, which it sees; only the one fence is beyond it.
#pragma GCC diagnostic ignored "-Wtsan"
#endif

namespace mobula {
namespace {

constexpr std::uint32_t kSpinning = 1;
constexpr std::uint32_t kSleeping = 1U << 16;
constexpr auto kSpinTime = std::chrono::microseconds(20);
/// A job meant to run next on its own thread is looked at by others after this long; see submit().
constexpr auto kRescueTime = std::chrono::milliseconds(2);
#if defined(__x86_64__)
/// About half a millisecond, whatever the processor's exact frequency.
constexpr std::uint64_t kRescueWakeTicks = 1'500'000;
std::uint64_t ticks() {
  return __builtin_ia32_rdtsc();
}
#else
constexpr std::uint64_t kRescueWakeTicks = 500'000;
std::uint64_t ticks() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}
#endif
/// A yield that took longer let another thread run (one that finds nobody takes 0.2 us, one that does at least 1 us); after
/// so many in a row the thread moves, at most so often.
constexpr std::uint64_t kSwitchTicks = kRescueWakeTicks / 1250;
constexpr int kCrowded = 16;
constexpr std::uint64_t kMoveTicks = kRescueWakeTicks;
constexpr int kMaxBatch = 32;
constexpr std::uint32_t kFairness = 64;

std::atomic<std::uint64_t> next_pool_id{1};

bool register_barrier() {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}
void barrier_for_all() {
  syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

}  // namespace

struct ThreadPool::Worker {
  WorkQueue queue;
  alignas(64) std::atomic<Job> next{0};
  std::atomic<std::uint32_t> woken{0};
  ThreadPool* pool = nullptr;
  std::size_t index = 0;
  bool spinning = false;
  bool rested = false;      ///< has slept since it last looked for work in vain
  int num_crowded = 0;      ///< yields in a row that let somebody else run
  std::uint64_t moved = 0;  ///< ticks() when it last left a processor
  std::uint32_t num_run = 0;
  std::size_t victim = 0;
  TaskGroup* group = nullptr;
  std::uint64_t num_finished = 0;
  std::uint64_t last_wake = 0;  ///< ticks()
  std::thread thread;
};

struct ThreadPool::External {
  WorkQueue queue;
  std::atomic<bool> taken{true};
};

// Read on every submit: an access must be one instruction.
static thread_local constinit void* this_worker [[gnu::tls_model("initial-exec")]] = nullptr;
static thread_local constinit std::uint64_t external_pool [[gnu::tls_model("initial-exec")]] = 0;
static thread_local constinit WorkQueue* external_work_queue [[gnu::tls_model("initial-exec")]] = nullptr;
static thread_local constinit bool woke_sleeper [[gnu::tls_model("initial-exec")]] = false;

ThreadPool::ThreadPool(int num_slots, std::function<void(Job)> run, std::function<void()> slot_granted)
    : num_slots_(num_slots),
      max_spinning_(static_cast<std::uint32_t>(std::max(1, num_slots / 4))),
      asymmetric_(register_barrier()),
      run_(std::move(run)),
      slot_granted_(std::move(slot_granted)),
      id_(next_pool_id.fetch_add(1)) {
  std::lock_guard lock(mutex_);
  for (int i = 0; i < num_slots; ++i) start_thread(false);
}

ThreadPool::~ThreadPool() {
  stop([](Job) {});
  for (std::size_t i = 0; i < num_threads_; ++i) delete workers_[i].load();
}

/// Under the mutex.
void ThreadPool::start_thread(bool spinning) {
  const std::size_t index = num_threads_.load(std::memory_order_relaxed);
  if (index == kMaxThreads) {
    throw Error(ErrorCode::resource, "more than 2,048 tasks wait for other tasks at once",
                "let tasks pass Refs on as arguments instead of waiting for them");
  }
  auto worker = std::make_unique<Worker>();
  worker->pool = this;
  worker->index = index;
  worker->victim = index;
  worker->spinning = spinning;
  if (spinning) idle_.fetch_add(kSpinning);
  Worker* raw = worker.get();
  workers_[index].store(raw, std::memory_order_release);
  num_threads_.store(index + 1, std::memory_order_release);
  raw->thread = std::thread([this, raw] { loop(*raw); });
  worker.release();
}

bool ThreadPool::on_worker() const noexcept {
  return this_worker != nullptr && static_cast<Worker*>(this_worker)->pool == this;
}

WorkQueue* ThreadPool::external_queue() {
  if (external_pool == id_) [[likely]]
    return external_work_queue;
  // A thread that ends frees its queue for the next one; what is in it stays.
  struct Lease {
    std::shared_ptr<External> external;
    ~Lease() {
      if (external != nullptr) external->taken.store(false, std::memory_order_release);
    }
  };
  static thread_local Lease lease;
  std::lock_guard lock(mutex_);
  std::shared_ptr<External> found;
  for (const auto& external : external_owners_) {
    bool free = false;
    if (external->taken.compare_exchange_strong(free, true, std::memory_order_acq_rel)) {
      found = external;
      break;
    }
  }
  const std::size_t count = num_external_.load(std::memory_order_relaxed);
  if (found == nullptr && count < kMaxExternal) {
    found = std::make_shared<External>();
    external_owners_.push_back(found);
    external_[count].store(found.get(), std::memory_order_release);
    num_external_.store(count + 1, std::memory_order_release);
  }
  if (lease.external != nullptr) lease.external->taken.store(false, std::memory_order_release);
  lease.external = found;
  external_pool = id_;
  external_work_queue = found == nullptr ? nullptr : &found->queue;
  return external_work_queue;
}

void ThreadPool::submit(Job job, bool next) {
  auto* self = static_cast<Worker*>(this_worker);
  if (self != nullptr && self->pool == this) {
    if (next) {
      // Kept from thieves for a moment, so that two actors that talk to each other stay on one thread. A thread that is
      // woken for it every millisecond looks after 2 ms whether the job is stuck behind a long one.
      const Job before = self->next.exchange(job, std::memory_order_acq_rel);
      if (before != 0) self->queue.push(before);
      const std::uint64_t now = ticks();
      if (now - self->last_wake > kRescueWakeTicks) {
        self->last_wake = now;
        notify(Queued::no);
      }
      return;
    }
    self->queue.push(job);
  } else if (WorkQueue* queue = external_queue(); queue != nullptr) [[likely]] {
    queue->push(job);
  } else {
    std::lock_guard lock(overflow_mutex_);
    overflow_.push_back(job);
    num_overflow_.store(overflow_.size());
  }
  notify(Queued::yes);
}

void ThreadPool::notify(Queued queued) {
  // The sleepers' barrier (see park) stands in for one here.
  if (asymmetric_) {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    const std::uint32_t idle = idle_.load(std::memory_order_relaxed);
    if (idle < kSleeping) return;
    if ((idle & (kSleeping - 1)) == 0) {
      wake_one();
      return;
    }
  }
  // Somebody is looking for work, but may have passed our queue just before it found some elsewhere. If it found ours,
  // there is nothing to wake another one for.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::uint32_t idle = idle_.load(std::memory_order_relaxed);
  if (idle >= kSleeping && (idle & (kSleeping - 1)) == 0 && (queued == Queued::no || any_queued())) wake_one();
}

void ThreadPool::wake_one() {
  Worker* worker = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (sleeping_.empty() || (idle_.load() & (kSleeping - 1)) >= max_spinning_) return;
    worker = sleeping_.back();
    sleeping_.pop_back();
    idle_.fetch_add(kSpinning - kSleeping);
    worker->spinning = true;
  }
  worker->woken.store(1, std::memory_order_release);
  futex_wake(&worker->woken, 1);
  woke_sleeper = true;
}

bool ThreadPool::has_woken_sleeper() const noexcept {
  return std::exchange(woke_sleeper, false);
}

bool ThreadPool::any_queued() const {
  for (std::size_t i = 0; i < num_external_.load(std::memory_order_acquire); ++i) {
    if (external_[i].load(std::memory_order_acquire)->queue.size() > 0) return true;
  }
  for (std::size_t i = 0; i < num_threads_.load(std::memory_order_acquire); ++i) {
    if (workers_[i].load(std::memory_order_acquire)->queue.size() > 0) return true;
  }
  return num_overflow_.load() > 0;
}

Job ThreadPool::next_local(Worker& self) {
  if (self.next.load(std::memory_order_relaxed) != 0) {
    if (const Job job = self.next.exchange(0, std::memory_order_acq_rel)) return job;
  }
  return self.queue.size() > 0 ? self.queue.pop() : 0;
}

Job ThreadPool::take_batch(Worker& self, WorkQueue& victim) {
  const std::int64_t seen = victim.size();
  if (seen <= 0) return 0;
  bool contended = false;
  const Job first = victim.steal(contended);
  if (first == 0) return 0;
  // Half of what there is, so that several thieves share it; the oldest shall run first, so it goes in last.
  Job batch[kMaxBatch];
  int count = 0;
  const auto wanted = static_cast<int>(std::min<std::int64_t>(seen / 2, kMaxBatch));
  while (count < wanted && !contended) {
    const Job job = victim.steal(contended);
    if (job == 0) break;
    __builtin_prefetch(reinterpret_cast<const void*>(job & ~Job{1}), 1);
    __builtin_prefetch(reinterpret_cast<const void*>((job & ~Job{1}) + 64), 1);
    batch[count++] = job;
  }
  while (count > 0) self.queue.push(batch[--count]);
  return first;
}

Job ThreadPool::take_outside(Worker& self) {
  const std::size_t num_external = num_external_.load(std::memory_order_acquire);
  const std::size_t num_threads = num_threads_.load(std::memory_order_acquire);
  const std::size_t start = self.victim;
  for (std::size_t i = 0; i < num_external; ++i) {
    const std::size_t at = (start + i) % num_external;
    if (const Job job = take_batch(self, external_[at].load(std::memory_order_acquire)->queue)) return job;
  }
  for (std::size_t i = 0; i < num_threads; ++i) {
    const std::size_t at = (start + i) % num_threads;
    if (at == self.index) continue;
    if (const Job job = take_batch(self, workers_[at].load(std::memory_order_acquire)->queue)) {
      self.victim = at;
      return job;
    }
  }
  ++self.victim;
  if (num_overflow_.load() > 0) {
    std::lock_guard lock(overflow_mutex_);
    if (!overflow_.empty()) {
      const Job job = overflow_.front();
      overflow_.pop_front();
      num_overflow_.store(overflow_.size());
      return job;
    }
  }
  return 0;
}

Job ThreadPool::take_next_of_others(Worker& self) {
  for (std::size_t i = 0; i < num_threads_.load(std::memory_order_acquire); ++i) {
    Worker& other = *workers_[i].load(std::memory_order_acquire);
    if (&other == &self || other.next.load(std::memory_order_relaxed) == 0) continue;
    if (const Job job = other.next.exchange(0, std::memory_order_acq_rel)) return job;
  }
  return 0;
}

Job ThreadPool::search(Worker& self) {
  if (!self.spinning) {
    if (const Job job = take_outside(self)) return job;
    std::uint32_t idle = idle_.load();
    do {
      if ((idle & (kSleeping - 1)) >= max_spinning_) return 0;
    } while (!idle_.compare_exchange_weak(idle, idle + kSpinning));
    self.spinning = true;
  }
  const auto start = std::chrono::steady_clock::now();
  for (int round = 0;; ++round) {
    const Job job = take_outside(self);
    if (job != 0) {
      stop_spinning(self);
      return job;
    }
    if (stopping_.load(std::memory_order_relaxed) || owes_slot()) return 0;
    if ((round & 15) == 15) {
      if (std::chrono::steady_clock::now() - start > kSpinTime) return 0;
      const std::uint64_t before = ticks();
      spin_yield();
      self.num_crowded = ticks() - before > kSwitchTicks ? self.num_crowded + 1 : 0;
      if (self.num_crowded >= kCrowded) leave_processor(self);
    }
    // Who woke it, for a job that is done now, may wait for this processor.
    if (std::exchange(self.rested, false)) spin_yield();
    spin_pause();
  }
}

/// Moves to another processor: who waits for this thread's results shares this one with it, as it happens where the
/// kernel wakes a thread next to its waker, and the two only ever take turns here.
void ThreadPool::leave_processor(Worker& self) {
  self.num_crowded = 0;
  const std::uint64_t now = ticks();
  if (now - self.moved < kMoveTicks) return;
  self.moved = now;
  cpu_set_t allowed;
  const int here = sched_getcpu();
  if (here < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  cpu_set_t others = allowed;
  CPU_CLR(static_cast<std::size_t>(here), &others);
  if (sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
}

/// Where nobody is left who looks for work, and there is some, somebody is woken: those who queued it counted on us.
void ThreadPool::stop_spinning(Worker& self) {
  self.spinning = false;
  const bool last = ((idle_.fetch_sub(kSpinning) - kSpinning) & (kSleeping - 1)) == 0;
  if (last && any_queued()) wake_one();
}

bool ThreadPool::has_local_jobs() const noexcept {
  const auto& self = *static_cast<const Worker*>(this_worker);
  return self.next.load(std::memory_order_relaxed) != 0 || self.queue.size() > 0;
}

bool ThreadPool::announce_search() {
  auto& self = *static_cast<Worker*>(this_worker);
  if (self.spinning || has_local_jobs()) return false;
  std::uint32_t idle = idle_.load(std::memory_order_relaxed);
  if ((idle & (kSleeping - 1)) >= max_spinning_) return false;
  return self.spinning = idle_.compare_exchange_strong(idle, idle + kSpinning);
}

void ThreadPool::withdraw_search() {
  stop_spinning(*static_cast<Worker*>(this_worker));
}

Job ThreadPool::park(Worker& self) {
  {
    std::lock_guard lock(mutex_);
    // Whoever wants a slot finds us among the sleepers, or we see here that one is owed.
    if (stopping_ || owes_slot()) return 0;
    self.woken.store(0, std::memory_order_relaxed);
    sleeping_.push_back(&self);
    idle_.fetch_add(self.spinning ? kSleeping - kSpinning : kSleeping);
    self.spinning = false;
  }
  // From here on whoever queues a job sees us asleep; what was queued before, we see.
  if (asymmetric_) barrier_for_all();
  const auto leave = [&] {
    std::lock_guard lock(mutex_);
    const auto found = std::find(sleeping_.begin(), sleeping_.end(), &self);
    if (found == sleeping_.end()) return false;  // woken meanwhile, or made a spare
    sleeping_.erase(found);
    idle_.fetch_add(kSpinning - kSleeping);
    self.spinning = true;
    return true;
  };
  if (any_queued() && leave()) return 0;
  if (self.woken.load(std::memory_order_acquire) == 0) futex_wait(self.woken, 0, kRescueTime);
  if (self.woken.load(std::memory_order_acquire) == 0) {
    bool stuck = false;
    for (std::size_t i = 0; i < num_threads_.load(std::memory_order_acquire); ++i) {
      stuck = stuck || workers_[i].load(std::memory_order_acquire)->next.load(std::memory_order_relaxed) != 0;
    }
    if (stuck && leave()) return take_next_of_others(self);
  }
  while (self.woken.load(std::memory_order_acquire) == 0) futex_wait(self.woken, 0);
  self.rested = true;
  self.num_crowded = 0;
  return 0;
}

/// Gives up the slot and sleeps until another one is handed over.
void ThreadPool::retire(Worker& self) {
  if (self.spinning) stop_spinning(self);
  bool granted = false;
  {
    std::lock_guard lock(mutex_);
    if (owed_.load() <= 0 || stopping_) return;
    owed_.fetch_sub(1);
    if (requested_ > 0) {
      --requested_;
      granted = true;
    }
    self.woken.store(0, std::memory_order_relaxed);
    spare_.push_back(&self);
  }
  if (granted) slot_granted_();
  while (self.woken.load(std::memory_order_acquire) == 0) futex_wait(self.woken, 0);
}

void ThreadPool::loop(Worker& self) {
  this_worker = &self;
  pthread_setname_np(pthread_self(), "mobula-task");
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (owes_slot()) [[unlikely]] {
      flush_group();
      // Jobs that wait here are for others to steal.
      if (const Job job = self.next.exchange(0)) self.queue.push(job);
      retire(self);
      continue;
    }
    Job job = (++self.num_run % kFairness) == 0 ? take_outside(self) : 0;
    if (job == 0) job = next_local(self);
    if (job == 0) {
      if (self.group != nullptr) {
        announce_search();
        flush_group();
      }
      job = search(self);
    }
    if (job == 0 && !owes_slot()) job = park(self);
    if (job != 0) {
      if (self.spinning) stop_spinning(self);
      run_(job);
    }
  }
  flush_group();
}

void ThreadPool::lend_slot() {
  flush_group();
  auto& self = *static_cast<Worker*>(this_worker);
  if (const Job job = self.next.exchange(0)) self.queue.push(job);
  Worker* substitute = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    if (owed_.load() > 0 && requested_ == 0) {
      owed_.fetch_sub(1);  // this is the slot that was to be given up
      return;
    }
    if (spare_.empty()) {
      start_thread(true);
      return;
    }
    substitute = spare_.back();
    spare_.pop_back();
    substitute->spinning = true;
    idle_.fetch_add(kSpinning);
  }
  substitute->woken.store(1, std::memory_order_release);
  futex_wake(&substitute->woken, 1);
}

void ThreadPool::take_slot_back() {
  std::lock_guard lock(mutex_);
  if (!sleeping_.empty()) {
    // It stays asleep, without a slot.
    spare_.push_back(sleeping_.back());
    sleeping_.pop_back();
    idle_.fetch_sub(kSleeping);
    return;
  }
  owed_.fetch_add(1);
}

void ThreadPool::request_slots(int count) {
  int granted = 0;
  {
    std::lock_guard lock(mutex_);
    for (int i = 0; i < count; ++i) {
      if (sleeping_.empty()) {
        owed_.fetch_add(1);
        ++requested_;
        continue;
      }
      spare_.push_back(sleeping_.back());
      sleeping_.pop_back();
      idle_.fetch_sub(kSleeping);
      ++granted;
    }
  }
  for (int i = 0; i < granted; ++i) slot_granted_();
}

void ThreadPool::return_slots(int count) {
  for (int i = 0; i < count; ++i) {
    Worker* worker = nullptr;
    {
      std::lock_guard lock(mutex_);
      if (owed_.load() > requested_) {
        owed_.fetch_sub(1);
        continue;
      }
      if (spare_.empty()) {
        start_thread(true);
        continue;
      }
      worker = spare_.back();
      spare_.pop_back();
      worker->spinning = true;
      idle_.fetch_add(kSpinning);
    }
    worker->woken.store(1, std::memory_order_release);
    futex_wake(&worker->woken, 1);
  }
}

void ThreadPool::finish_in_group(TaskGroup* group) {
  auto& self = *static_cast<Worker*>(this_worker);
  if (self.group != group) {
    flush_group();
    self.group = group;
  }
  ++self.num_finished;
}

void ThreadPool::flush_group(TaskGroup* keep) {
  auto& self = *static_cast<Worker*>(this_worker);
  if (self.group == nullptr || self.group == keep) return;
  TaskGroup* group = std::exchange(self.group, nullptr);
  group->finished(std::exchange(self.num_finished, 0));
}

void ThreadPool::stop(const std::function<void(Job)>& drop) {
  std::vector<Worker*> asleep;
  {
    std::lock_guard lock(mutex_);
    if (stopping_.exchange(true)) return;
    asleep = sleeping_;
    asleep.insert(asleep.end(), spare_.begin(), spare_.end());
    sleeping_.clear();
    spare_.clear();
  }
  for (Worker* worker : asleep) {
    worker->woken.store(1, std::memory_order_release);
    futex_wake(&worker->woken, 1);
  }
  // Threads may still be started by those that are about to block, so count anew each time.
  for (std::size_t i = 0; i < num_threads_.load(); ++i) workers_[i].load()->thread.join();
  // Dropping a job may queue others, anywhere: until a whole round finds nothing.
  for (bool found = true; found;) {
    found = false;
    const auto drop_one = [&](Job job) {
      found = true;
      drop(job);
    };
    const auto drain = [&](WorkQueue& queue) {
      bool contended = false;
      while (const Job job = queue.steal(contended)) drop_one(job);
    };
    for (std::size_t i = 0; i < num_threads_.load(); ++i) {
      Worker& worker = *workers_[i].load();
      if (const Job job = worker.next.exchange(0)) drop_one(job);
      drain(worker.queue);
    }
    for (std::size_t i = 0; i < num_external_.load(); ++i) drain(external_[i].load()->queue);
    std::deque<Job> overflow;
    {
      std::lock_guard lock(overflow_mutex_);
      overflow.swap(overflow_);
      num_overflow_.store(0);
    }
    for (const Job job : overflow) drop_one(job);
  }
}

}  // namespace mobula
