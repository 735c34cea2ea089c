/// Tells a circle of tasks that wait for one another, which would never end, from a long wait.
#pragma once

#include <atomic>
#include <vector>

#include "mobula/core/object.hpp"

namespace mobula {

class Task;

/// Told, in a worker process, that the running call waits for an object, however long it takes: only the main process sees
/// a circle as a whole.
inline std::atomic<void (*)(Object& object)> wait_teller{nullptr};

/// Notes, for as long as it lives, that the running task waits for an object, however long it takes.
///
/// A task is waited for by who called get() in it; a call that its actor has not begun waits for the call that runs there.
/// Of the circles that these make, the wait that would close one is refused. What is seen costs nothing while nobody
/// sleeps; arguments need no look, since a task has its Refs before anybody has the task's.
class NotedWait {
 public:
  /// Throws Error(invalid_argument) that names the circle's tasks. Outside a task it notes nothing.
  explicit NotedWait(Object& object);
  /// The same for tasks that run in a worker process, each on top of the one before; takes their references over.
  NotedWait(std::vector<Task*> waiters, Object& object);
  NotedWait(const NotedWait&) = delete;
  NotedWait& operator=(const NotedWait&) = delete;
  ~NotedWait();

 private:
  void note(Object& object);
  void forget() noexcept;

  std::vector<Task*> waiters_;  ///< counted
};

}  // namespace mobula
