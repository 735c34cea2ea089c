/// The side of a worker process that runs tasks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mobula {

/// The role that marks a process as a worker for tasks, or for one actor.
inline constexpr std::string_view kTaskWorkerRole = "task";

/// What such a worker is told at its start.
struct TaskWorkerStart {
  std::string name;
  int shared_memory = -1;         ///< descriptor of the arena
  std::uint64_t channel = 0;      ///< where in the arena its calls are
  std::uint32_t worker = 0;       ///< its number, never 0
  std::uint32_t num_threads = 1;  ///< calls that run at once
  std::uint32_t serial = 0;       ///< tells it from all others that ever were
  bool lends = false;             ///< another worker takes over while its task waits
};
std::string encode(const TaskWorkerStart& start);
TaskWorkerStart decode_task_worker_start(std::string_view bytes);

/// Tells whether the task that this worker process runs has been cancelled.
bool worker_task_cancelled() noexcept;

/// Runs tasks until the driver goes away. Never returns.
[[noreturn]] void serve_task_worker(int socket);

}  // namespace mobula
