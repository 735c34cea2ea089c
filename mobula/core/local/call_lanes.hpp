/// Decides which calls of an actor with concurrency groups may begin: each group is a lane that runs so many at once and
/// starts them in the order they were made; the constructor comes before all, the actor's end after all.
///
/// A state machine without threads or locks of its own: its owner guards it, runs what may begin and tells what has ended.
#pragma once

#include <cstddef>
#include <deque>
#include <exception>
#include <vector>

#include "mobula/core/actor_core.hpp"
#include "mobula/core/task.hpp"

namespace mobula {

class CallLanes {
 public:
  /// A call that may begin, or has failed before.
  struct Ready {
    Task* call = nullptr;
    std::exception_ptr failure;
  };

  /// `argument_ready` is told where a call's argument has come; answer with unblock().
  CallLanes(const ActorCore& actor, void (*argument_ready)(Waiter*));

  void add(Task* call);
  /// Adds the calls that may begin now; each is to be told of with ended().
  void take(std::vector<Ready>& ready);
  void unblock(const Task& call);
  /// `call` has ended, or will never run; before it is released.
  void ended(const Task& call);
  std::size_t num_running() const noexcept { return num_running_; }

 private:
  struct Lane {
    std::deque<Task*> waiting;
    int width = 1;
    int num_running = 0;
    bool blocked = false;  ///< the oldest one waits for an argument
  };
  static std::size_t lane_of(const Task& call);
  bool take_from(Lane& lane, std::vector<Ready>& ready);

  void (*argument_ready_)(Waiter*);
  std::vector<Lane> lanes_;
  Task* last_ = nullptr;  ///< the actor's end
  bool ending_ = false;   ///< the last call has been taken: there is no object for those behind it
  std::size_t num_running_ = 0;
  bool constructing_ = false;
  bool constructed_ = false;
};

}  // namespace mobula
