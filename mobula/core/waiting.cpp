#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "mobula/core/engine.hpp"
#include "mobula/core/local/futex.hpp"
#include "mobula/core/noted_wait.hpp"

namespace mobula {
namespace {

using Clock = std::chrono::steady_clock;

/// How long a thread looks before it sleeps: about what sleeping and being woken costs, 5 to 60 us with a machine's idle
/// states and virtualisation. A worker's slot is of use to others meanwhile, so it gives up earlier.
constexpr auto kSpinTime = std::chrono::microseconds(60);
constexpr auto kWorkerSpinTime = std::chrono::microseconds(20);

static thread_local constinit Task* running_task [[gnu::tls_model("initial-exec")]] = nullptr;

/// Sleeps until the objects it is given to have told it `wanted` times.
struct SleepingThread {
  std::atomic<std::uint32_t> word{0};  ///< 1: woken
  std::atomic<std::int64_t> wanted;
  explicit SleepingThread(std::int64_t count) : wanted(count) {}
};

struct SleepWaiter : Waiter {
  SleepingThread* thread = nullptr;
  std::atomic<bool> told{false};
  static void tell(Waiter* self) {
    auto* waiter = static_cast<SleepWaiter*>(self);
    SleepingThread* thread = waiter->thread;
    if (thread->wanted.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      thread->word.store(1, std::memory_order_release);
      futex_wake(&thread->word, 1);
    }
    // Last: the waiting thread may go on, and its stack with it, once every waiter says so.
    waiter->told.store(true, std::memory_order_release);
  }
};

Clock::time_point deadline_after(std::chrono::nanoseconds timeout) {
  const auto now = Clock::now();
  // Further than the clock can count is never.
  if (timeout.count() < 0 || timeout > Clock::time_point::max() - now) return Clock::time_point::max();
  return now + timeout;
}

/// Looks for a while; true once `done()` says so.
template <class Done>
bool spin(Engine* engine, Clock::time_point deadline, const Done& done) {
  const auto end = std::min(deadline, Clock::now() + (running_task == nullptr ? kSpinTime : kWorkerSpinTime));
  struct Polling {
    Engine* engine;
    bool begun;
    ~Polling() {
      if (begun) engine->end_polling();
    }
  };
  const Polling polling{engine, engine->begin_polling()};
  for (int round = 1;; ++round) {
    if (done()) return true;
    if (engine->poll()) continue;
    spin_pause();
    if (round % 16 != 0) continue;
    if (Clock::now() >= end) return done();
    // What is waited for may wait for this very processor.
    spin_yield();
  }
}

/// Sleeps until enough of the objects are ready. The slot of this thread serves others meanwhile.
void sleep_until(Engine* engine, Object* const* objects, std::size_t count, std::size_t wanted,
                 Clock::time_point deadline) {
  const auto waiters = std::make_unique<SleepWaiter[]>(count);
  SleepingThread thread(static_cast<std::int64_t>(wanted));
  std::size_t num_added = 0;
  for (; num_added < count; ++num_added) {
    SleepWaiter& waiter = waiters[num_added];
    waiter.notify = &SleepWaiter::tell;
    waiter.thread = &thread;
    if (!objects[num_added]->add_waiter(waiter)) SleepWaiter::tell(&waiter);
  }
  if (thread.word.load(std::memory_order_acquire) == 0) {
    engine->lend_slot();
    while (thread.word.load(std::memory_order_acquire) == 0) {
      if (deadline == Clock::time_point::max()) {
        futex_wait(thread.word, 0);
        continue;
      }
      const auto left = deadline - Clock::now();
      if (left.count() <= 0) break;
      futex_wait(thread.word, 0, left);
    }
    engine->take_slot_back();
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (waiters[i].told.load(std::memory_order_acquire) || objects[i]->remove_waiter(waiters[i])) continue;
    // It is being told just now.
    while (!waiters[i].told.load(std::memory_order_acquire)) spin_pause();
  }
}

}  // namespace

Task* current_task() noexcept {
  return running_task;
}
Task* exchange_current_task(Task* task) noexcept {
  return std::exchange(running_task, task);
}

bool look(Object& object) {
  return wait_ready(object, std::chrono::nanoseconds(0));
}

bool wait_ready(Object& object, std::chrono::nanoseconds timeout) {
  Engine* engine = object.engine();
  const auto deadline = deadline_after(timeout);
  const bool for_ever = deadline == Clock::time_point::max();
  engine->before_wait(&object);
  if (object.polled()) {
    Object* polled = &object;
    engine->wait(&polled, 1, 1, timeout);
    return object.ready();
  }
  if (for_ever) engine->run_awaited(&object);
  if (spin(engine, deadline, [&] { return object.ready(); })) return true;
  if (Clock::now() >= deadline) return false;
  std::optional<NotedWait> noted;
  if (for_ever) noted.emplace(object);
  Object* one = &object;
  sleep_until(engine, &one, 1, 1, deadline);
  return object.ready();
}

void wait_ready(const std::vector<Object*>& objects, std::size_t count, std::chrono::nanoseconds timeout) {
  const auto num_ready = [&] {
    return static_cast<std::size_t>(
        std::count_if(objects.begin(), objects.end(), [](const Object* object) { return object->ready(); }));
  };
  if (objects.empty() || num_ready() >= count) return;
  Engine* engine = objects.front()->engine();
  if (std::any_of(objects.begin(), objects.end(), [](const Object* object) { return object->polled(); })) {
    engine->wait(objects.data(), objects.size(), count, timeout);
    return;
  }
  engine->before_wait_any(objects.data(), objects.size());
  const auto deadline = deadline_after(timeout);
  if (spin(engine, deadline, [&] { return num_ready() >= count; })) return;
  if (Clock::now() >= deadline) return;
  sleep_until(engine, objects.data(), objects.size(), count, deadline);
}

}  // namespace mobula
