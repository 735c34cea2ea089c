#include "mobula/core/local/process_actor.hpp"

#include "mobula/core/errors.hpp"

namespace mobula {

std::exception_ptr ProcessActor::death() {
  std::lock_guard lock(death_mutex_);
  return death_;
}

void ProcessActor::die(std::exception_ptr error) {
  std::lock_guard lock(death_mutex_);
  if (death_ == nullptr) death_ = std::move(error);
}

void ProcessActor::call(Task* task) {
  retain();  // until the call's end
  std::vector<CallEnd> ends;
  {
    std::lock_guard lock(order_mutex_);
    if (lanes_) {
      lanes_->add(task);
      advance_lanes(ends);
    } else {
      waiting_.push_back(task);
      advance(ends);
    }
  }
  pool_->end_all(ends);
}

void ProcessActor::argument_ready(Waiter* waiter) {
  auto* task = static_cast<Task*>(waiter);
  auto* actor = static_cast<ProcessActor*>(task->actor());
  std::vector<CallEnd> ends;
  {
    std::lock_guard lock(actor->order_mutex_);
    if (actor->lanes_) {
      actor->lanes_->unblock(*task);
      actor->advance_lanes(ends);
    } else {
      actor->argument_missing_ = false;
      actor->advance(ends);
    }
  }
  actor->pool_->end_all(ends);
}

void ProcessActor::advance(std::vector<CallEnd>& ends) {
  while (!waiting_.empty() && !argument_missing_) {
    Task* task = waiting_.front();
    std::exception_ptr failure = death();
    Object* missing = nullptr;
    while (failure == nullptr && (missing = task->unready_dependency(failure)) != nullptr) {
      task->notify = &argument_ready;
      argument_missing_ = true;
      if (missing->add_waiter(*task)) return;
      argument_missing_ = false;
    }
    waiting_.pop_front();
    begin(task, std::move(failure), ends);
  }
}

void ProcessActor::begin(Task* task, std::exception_ptr failure, std::vector<CallEnd>& ends) {
  if (!task->claim()) {
    if (lanes_) lanes_->ended(*task);
    task->release();  // it was cancelled
    ends.push_back({.actor = this});
    return;
  }
  if (failure == nullptr) {
    try {
      submit(task, ends);
      return;
    } catch (...) {
      failure = capture_task_failure();
    }
  }
  // Without an object, no call that comes later may reach the process.
  if (task->function().destroy_actor != nullptr) die(failure);
  ends.push_back({.call = {.task = task}, .failure = failure});
}

void ProcessActor::advance_lanes(std::vector<CallEnd>& ends) {
  // A cancelled call makes room for the next at once.
  for (std::vector<CallLanes::Ready> ready;; ready.clear()) {
    lanes_->take(ready);
    if (ready.empty()) return;
    for (CallLanes::Ready& one : ready) {
      std::exception_ptr dead = death();
      begin(one.call, dead != nullptr ? dead : std::move(one.failure), ends);
    }
  }
}

void ProcessActor::ended(const Task& call) {
  std::vector<CallEnd> ends;
  {
    std::lock_guard lock(order_mutex_);
    lanes_->ended(call);
    advance_lanes(ends);
  }
  pool_->end_all(ends);
}

void ProcessActor::submit(Task* task, std::vector<CallEnd>& ends) {
  ProcessCall call = pool_->encode(task);
  std::lock_guard lock(pool_->mutex);
  if (pool_->scheduler.stopping()) throw CancelledError("the runtime was shut down before it ran");
  call.function = pool_->function_index(task->function());
  if (task->function().destroy_actor != nullptr && options().max_restarts != 0) {
    constructor_.arguments = call.arguments;
    constructor_.pins = call.pins;  // as long as it may be made again
    constructor_.kept = call.kept;
    constructor_.function = call.function;
  }
  pool_->submit(lane_, std::move(call), ends);
}

void ProcessActor::abandon() noexcept {
  // No handle and no call is left.
  {
    std::lock_guard lock(pool_->mutex);
    pool_->lanes[lane_].actor = nullptr;
    pool_->scheduler.close_lane(lane_, pool_->todo);
    std::vector<CallEnd> none;
    pool_->carry_out(none);
  }
  delete this;
}

}  // namespace mobula
