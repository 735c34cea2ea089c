#include "mobula/core/local/local_actor.hpp"

#include <algorithm>
#include <utility>

#include "mobula/core/engine.hpp"
#include "mobula/core/local/futex.hpp"

namespace mobula {
namespace {

/// Calls an actor makes before other work gets its turn.
constexpr int kTurn = 1024;
/// Looks at an empty queue before it is left, and the most pauses between two of them.
constexpr int kLingerLooks = 10;
constexpr int kLongestPause = 8;
/// How many calls ahead the way through the inbox is fetched: a call written on another processor takes about 0.1 us.
constexpr unsigned kAhead = 16;

/// The calls that this thread sent last, in a ring.
struct SentCalls {
  const void* calls[kAhead];
  unsigned next;
};
constinit thread_local SentCalls sent_calls{};

/// Fetches a call's two cache lines.
void fetch(const void* call) {
  __builtin_prefetch(call, 1);
  __builtin_prefetch(static_cast<const char*>(call) + 64, 1);
}

}  // namespace

LocalActor::LocalActor(Engine* engine, ActorHost& host, std::shared_ptr<const std::atomic<bool>> host_alive,
                       ActorOptions options, ResourceSet held)
    : ActorCore(engine, std::move(options)),
      host_(host),
      host_alive_(std::move(host_alive)),
      inbox_(idle_mark()),
      held_(std::move(held)) {
  if (!held_.empty()) {
    inbox_ = nullptr;
    retain();  // as while scheduled
  }
}

void LocalActor::start() {
  host_.schedule(this);
}

void LocalActor::send(Task* call) {
  const void*& slot = sent_calls.calls[sent_calls.next++ % kAhead];
  static_cast<Waiter*>(call)->sent_before = std::exchange(slot, call);
  Task* newest = inbox_.load(std::memory_order_relaxed);
  do {
    static_cast<Waiter*>(call)->next = newest == idle_mark() ? nullptr : newest;
  } while (!inbox_.compare_exchange_weak(newest, call, std::memory_order_acq_rel, std::memory_order_relaxed));
  if (newest == idle_mark()) {
    retain();
    host_.schedule(this);
  }
}

Task* LocalActor::next_call() {
  if (taken_ == nullptr) {
    Task* newest = inbox_.load(std::memory_order_relaxed);
    if (newest == nullptr) return nullptr;
    newest = inbox_.exchange(nullptr, std::memory_order_acq_rel);
    while (newest != nullptr) {
      // The list hangs together backwards: each step would wait for the one before it.
      fetch(static_cast<Waiter*>(newest)->sent_before);
      auto* older = static_cast<Task*>(static_cast<Waiter*>(newest)->next);
      static_cast<Waiter*>(newest)->next = taken_;
      taken_ = newest;
      newest = older;
    }
  }
  return taken_;
}

bool LocalActor::become_idle() {
  Task* none = nullptr;
  return inbox_.compare_exchange_strong(none, idle_mark(), std::memory_order_acq_rel, std::memory_order_relaxed);
}

/// Waits a moment for the next call: to be scheduled anew costs more than a caller's way to it. Looks ever more seldom,
/// since each look takes the queue's cache line from who is adding to it, and lets several calls come together.
void LocalActor::linger() const {
  for (int look = 0, pauses = 1; look < kLingerLooks && inbox_.load(std::memory_order_relaxed) == nullptr; ++look) {
    for (int i = 0; i < pauses; ++i) spin_pause();
    pauses = std::min(pauses * 2, kLongestPause);
  }
}

void LocalActor::argument_ready(Waiter* waiter) {
  auto* call = static_cast<Task*>(waiter);
  auto* actor = static_cast<LocalActor*>(call->actor());
  waiter->next = actor->taken_;
  actor->taken_ = call;
  actor->host_.schedule(actor);
}

std::exception_ptr LocalActor::death() {
  std::lock_guard lock(mutex_);
  return death_;
}

void LocalActor::run() {
  for (int turn = 0;; ++turn) {
    Task* call = next_call();
    if (call == nullptr) {
      if (dead_.load(std::memory_order_relaxed)) destroy_instance();
      if (turn > 0 && host_.may_linger()) linger();
      if (!become_idle()) continue;
      release();
      return;
    }
    if (turn >= kTurn) {
      host_.schedule(this);
      return;
    }
    taken_ = static_cast<Task*>(static_cast<Waiter*>(call)->next);
    if (dead_.load(std::memory_order_acquire)) {
      host_.fail_call(call, death());
      continue;
    }
    std::exception_ptr failure;
    while (Object* missing = call->unready_dependency(failure)) {
      call->notify = &argument_ready;
      // Once told, another thread may be running this actor already: nothing of it may be touched.
      if (missing->add_waiter(*call)) return;
    }
    if (failure != nullptr) {
      host_.fail_call(call, failure);
      continue;
    }
    host_.run_call(call);
  }
}

void LocalActor::kill(std::exception_ptr error) {
  {
    std::lock_guard lock(mutex_);
    if (death_ != nullptr) return;
    death_ = std::move(error);
  }
  dead_.store(true, std::memory_order_release);
  Task* idle = idle_mark();
  if (inbox_.compare_exchange_strong(idle, nullptr, std::memory_order_acq_rel)) {
    retain();
    host_.schedule(this);
  }
}

void LocalActor::abandon() noexcept {
  if (!held_.empty() && host_alive_->load()) host_.actor_gone(this);
  delete this;
}

}  // namespace mobula
