#include "mobula/core/local/call_lanes.hpp"

#include <utility>

namespace mobula {

CallLanes::CallLanes(const ActorCore& actor, void (*argument_ready)(Waiter*))
    : argument_ready_(argument_ready), lanes_(actor.num_lanes()) {
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) lanes_[lane].width = actor.lane_width(lane);
}

std::size_t CallLanes::lane_of(const Task& call) {
  return call.extras == nullptr ? 0 : call.extras->lane;
}

void CallLanes::add(Task* call) {
  if (call->function().ends_actor && last_ == nullptr) {
    last_ = call;
  } else {
    lanes_[lane_of(*call)].waiting.push_back(call);
  }
}

bool CallLanes::take_from(Lane& lane, std::vector<Ready>& ready) {
  Task* call = lane.waiting.front();
  std::exception_ptr failure;
  while (Object* missing = call->unready_dependency(failure)) {
    call->notify = argument_ready_;
    lane.blocked = true;
    if (missing->add_waiter(*call)) return false;
    lane.blocked = false;
  }
  lane.waiting.pop_front();
  ++lane.num_running;
  ++num_running_;
  ready.push_back({call, std::move(failure)});
  return true;
}

void CallLanes::take(std::vector<Ready>& ready) {
  if (!constructed_) {
    // The constructor was made first, into the first lane.
    if (constructing_ || lanes_[0].waiting.empty() || lanes_[0].blocked) return;
    constructing_ = take_from(lanes_[0], ready);
    return;
  }
  // Whoever waits for the last call knows of its end before the actor is dead: a call made then must not run.
  if (ending_ && num_running_ > 0) return;
  bool any_waiting = false;
  for (Lane& lane : lanes_) {
    while (!lane.waiting.empty() && !lane.blocked && lane.num_running < lane.width) {
      if (!take_from(lane, ready)) break;
    }
    any_waiting = any_waiting || !lane.waiting.empty();
  }
  if (last_ == nullptr || any_waiting || num_running_ > 0) return;
  ++lanes_[0].num_running;
  ++num_running_;
  ending_ = true;
  ready.push_back({std::exchange(last_, nullptr), nullptr});
}

void CallLanes::unblock(const Task& call) {
  lanes_[lane_of(call)].blocked = false;
}

void CallLanes::ended(const Task& call) {
  --lanes_[lane_of(call)].num_running;
  --num_running_;
  if (!constructed_) {
    constructed_ = true;
    constructing_ = false;
  }
}

}  // namespace mobula
