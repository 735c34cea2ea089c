#include "mobula/core/local/concurrent_actor.hpp"

#include <utility>

namespace mobula {

ConcurrentActor::ConcurrentActor(Engine* engine, ConcurrentActorHost& host,
                                 std::shared_ptr<const std::atomic<bool>> host_alive, ActorOptions options,
                                 ResourceSet held)
    : ActorCore(engine, std::move(options)),
      host_(host),
      host_alive_(std::move(host_alive)),
      held_(std::move(held)),
      lanes_(*this, &argument_ready),
      started_(held_.empty()) {
  if (!started_) retain();  // until start()
}

void ConcurrentActor::send(Task* call) {
  retain();  // until the call's end
  {
    std::lock_guard lock(mutex_);
    lanes_.add(call);
  }
  pump();
}

void ConcurrentActor::start() {
  {
    std::lock_guard lock(mutex_);
    started_ = true;
  }
  pump();
  release();
}

void ConcurrentActor::pump() {
  std::vector<CallLanes::Ready> ready;
  std::exception_ptr death;
  {
    std::lock_guard lock(mutex_);
    death = death_;
    // Of a dead actor too: they fail, in their turn.
    if (started_ || death != nullptr) lanes_.take(ready);
  }
  for (CallLanes::Ready& one : ready) {
    host_.run_call(this, one.call, death != nullptr ? death : std::move(one.failure));
  }
}

void ConcurrentActor::ended(Task& call) {
  {
    std::lock_guard lock(mutex_);
    lanes_.ended(call);
    if (death_ != nullptr && lanes_.num_running() == 0) destroy_instance();
  }
  pump();
  release();
}

void ConcurrentActor::argument_ready(Waiter* waiter) {
  auto* call = static_cast<Task*>(waiter);
  auto* actor = static_cast<ConcurrentActor*>(call->actor());
  {
    std::lock_guard lock(actor->mutex_);
    actor->lanes_.unblock(*call);
  }
  actor->pump();
}

void ConcurrentActor::kill(std::exception_ptr error) {
  {
    std::lock_guard lock(mutex_);
    if (death_ != nullptr) return;
    death_ = std::move(error);
    if (lanes_.num_running() == 0) destroy_instance();
  }
  pump();
}

bool ConcurrentActor::alive() noexcept {
  std::lock_guard lock(mutex_);
  return death_ == nullptr;
}

void ConcurrentActor::abandon() noexcept {
  if (!held_.empty() && host_alive_->load()) host_.actor_gone(held_);
  delete this;
}

}  // namespace mobula
