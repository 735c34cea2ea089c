/// Many tasks whose end is awaited together, at the lowest cost: no Ref is made for each.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <utility>

#include "mobula/core/engine.hpp"
#include "mobula/core/task.hpp"

namespace mobula {

class Runtime;

/// Fires tasks and joins them. run() may be called by any thread, also by the group's own tasks.
///
///     TaskGroup group(rt);
///     for (int i = 0; i < n; ++i) group.run<step>(i);
///     group.wait();
class TaskGroup {
 public:
  explicit TaskGroup(Runtime& runtime);
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  /// Waits for what is still running; an error that nobody waited for is logged.
  ~TaskGroup();

  /// Runs F; its result is dropped.
  template <auto F, class... A>
  void run(A&&... arguments) {
    using Call = typename task::CallTaskFor<task::CallFunction<F>, typename function::TraitsOf<F>::Pointer, A...>::type;
    Task* task = new Call(engine_, 1, nullptr, std::forward<A>(arguments)...);
    task->group = this;
    started_.fetch_add(1, std::memory_order_relaxed);
    engine_->submit(task);
  }
  /// Waits until every task has ended, and throws the first error among them.
  void wait();

  /// Notes the end of `count` tasks. For engines.
  void finished(std::uint64_t count) noexcept;
  /// Keeps the first error. For engines, before finished().
  void fail(std::exception_ptr error) noexcept;

 private:
  void wait_quietly() noexcept;

  static constexpr std::uint64_t kWaiting = std::uint64_t{1} << 63;
  Engine* engine_;
  alignas(64) std::atomic<std::uint64_t> started_{0};
  alignas(64) std::atomic<std::uint64_t> finished_{0};
  std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace mobula
