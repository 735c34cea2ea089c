#include "mobula/core/actor_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>

namespace mobula {

void ActorPoolOptions::validate() const {
  if (min_size < 0) throw_invalid(fmt::format("min_size of an actor pool is {}", min_size), "it can't be negative");
  if (max_size < 1 || max_size < min_size) {
    throw_invalid(fmt::format("max_size of an actor pool is {}, min_size {}", max_size, min_size),
                  "max_size is at least 1 and at least min_size");
  }
  if (calls_per_actor < 1) throw_invalid(fmt::format("calls_per_actor is {}", calls_per_actor), "give it at least 1");
  if (!actor.name.empty()) {
    throw_invalid(fmt::format("the actors of a pool can't all be named '{}'", actor.name), "leave the name out");
  }
}

namespace actor_pool {

struct Members::State : std::enable_shared_from_this<Members::State> {
  struct Member {
    ActorCore* core;
    int num_calls;
    Timer::Clock::time_point idle_since;
  };
  /// Told when a call has ended.
  struct CallEnd : Waiter {
    std::shared_ptr<State> state;
    ActorCore* core = nullptr;
  };

  State(ActorPoolOptions o, std::function<ActorCore*()> m) : options(std::move(o)), make(std::move(m)) {}

  void call_ended(ActorCore* core) {
    std::lock_guard lock(mutex);
    for (Member& member : members) {
      if (member.core != core) continue;
      if (--member.num_calls == 0) {
        member.idle_since = Timer::Clock::now();
        if (!shrink_planned) plan_shrink(member.idle_since + options.idle);
      }
    }
  }

  /// Under the mutex.
  void plan_shrink(Timer::Clock::time_point time) {
    if (closed || members.size() <= static_cast<std::size_t>(options.min_size)) return;
    shrink_planned = true;
    timer.at(time, [weak = weak_from_this()] {
      if (const auto state = weak.lock()) state->shrink();
    });
  }

  void shrink() {
    std::vector<ActorCore*> ended;
    {
      std::lock_guard lock(mutex);
      shrink_planned = false;
      const auto now = Timer::Clock::now();
      auto next = Timer::Clock::time_point::max();
      for (std::size_t i = members.size(); i > 0 && members.size() > static_cast<std::size_t>(options.min_size); --i) {
        const Member member = members[i - 1];
        if (member.num_calls > 0) continue;
        if (now - member.idle_since >= options.idle) {
          ended.push_back(member.core);
          members.erase(members.begin() + static_cast<std::ptrdiff_t>(i) - 1);
        } else {
          next = std::min(next, member.idle_since + options.idle);
        }
      }
      if (next != Timer::Clock::time_point::max()) plan_shrink(next);
    }
    for (ActorCore* core : ended) core->release();
  }

  const ActorPoolOptions options;
  const std::function<ActorCore*()> make;
  std::mutex mutex;
  std::vector<Member> members;
  bool shrink_planned = false;
  bool closed = false;
  Timer timer;
};

Members::Members(ActorPoolOptions options, std::function<ActorCore*()> make)
    : state_(std::make_shared<State>(std::move(options), std::move(make))) {
  std::lock_guard lock(state_->mutex);
  for (int i = 0; i < state_->options.min_size; ++i) {
    state_->members.push_back({state_->make(), 0, Timer::Clock::now()});
  }
}

Members::~Members() {
  std::vector<State::Member> members;
  {
    std::lock_guard lock(state_->mutex);
    state_->closed = true;
    members.swap(state_->members);
  }
  state_->timer.stop();
  for (const State::Member& member : members) member.core->release();
}

ActorCore* Members::choose() {
  State& state = *state_;
  std::vector<ActorCore*> dead;
  std::unique_lock lock(state.mutex);
  std::erase_if(state.members, [&](const State::Member& member) {
    if (member.core->alive()) return false;
    dead.push_back(member.core);
    return true;
  });
  auto least = std::min_element(state.members.begin(), state.members.end(),
                                [](const auto& a, const auto& b) { return a.num_calls < b.num_calls; });
  const bool all_busy = least == state.members.end() || least->num_calls >= state.options.calls_per_actor;
  if (all_busy && state.members.size() < static_cast<std::size_t>(state.options.max_size)) {
    state.members.push_back({state.make(), 0, {}});
    least = state.members.end() - 1;
  }
  ++least->num_calls;
  ActorCore* chosen = least->core;
  chosen->retain();
  lock.unlock();
  for (ActorCore* core : dead) core->release();
  return chosen;
}

void Members::watch(ActorCore* actor, Object& result) {
  auto* end = new State::CallEnd;
  end->state = state_;
  end->core = actor;
  end->notify = [](Waiter* self) {
    auto* told = static_cast<State::CallEnd*>(self);
    told->state->call_ended(told->core);
    delete told;
  };
  if (!result.add_waiter(*end)) end->notify(end);
  if (result.polled()) result.engine()->watch(&result);
}

std::size_t Members::size() const {
  std::lock_guard lock(state_->mutex);
  return state_->members.size();
}

std::size_t Members::most_calls() const {
  return static_cast<std::size_t>(state_->options.max_size) * static_cast<std::size_t>(state_->options.calls_per_actor);
}

}  // namespace actor_pool
}  // namespace mobula
