/// Runs independent tasks on the library's threads.
#pragma once

#include <ATen/Parallel.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace mobula::nn::kernels {

/// Calls task(i) for every i below `count`, each once, on any thread of the pool; returns when all are done. A
/// free thread takes the next number, so results must not depend on who does what: every output is written by
/// one task. Each thread that took part calls finish() last.
template <class Task, class Finish>
void run_tasks(std::int64_t count, const Task& task, const Finish& finish) {
  std::atomic<std::int64_t> next{0};
  const std::int64_t threads = at::get_num_threads() < count ? at::get_num_threads() : count;
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    for (std::int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) task(i);
    finish();
  });
}
template <class Task>
void run_tasks(std::int64_t count, const Task& task) {
  run_tasks(count, task, [] {});
}

/// Returns this thread's scratch memory of at least that many bytes, aligned to 64. The next call may move it.
std::byte* thread_scratch(std::size_t bytes);

}  // namespace mobula::nn::kernels
