// The same measurements with what else there is: std::async, a thread behind a condition variable, oneTBB, CAF.
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "measure.hpp"

#ifdef MOBULA_BENCH_TBB
#include <tbb/task_arena.h>
#include <tbb/task_group.h>
#endif
#ifdef MOBULA_BENCH_CAF
#include <caf/all.hpp>
#endif

namespace bench {
namespace {

void measure_std() {
  constexpr int kTasks = 10'000;
  report({"noop_typed_result_per_s",
          rate(3, kTasks,
               [] {
                 std::vector<std::future<int>> futures;
                 for (int batch = 0; batch < kTasks / 200; ++batch) {
                   futures.clear();
                   for (int i = 0; i < 200; ++i) {
                     futures.push_back(std::async(std::launch::async, [] { return 1; }));
                   }
                   for (auto& future : futures) future.get();
                 }
               }),
          "tasks/s", "std::async"});
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::promise<int>*> queue;
  bool stop = false;
  std::thread worker([&] {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return stop || !queue.empty(); });
      if (queue.empty()) return;
      auto* promise = queue.front();
      queue.pop_front();
      lock.unlock();
      promise->set_value(1);
      lock.lock();
    }
  });
  report({"round_trip_hot_us",
          latency(5000,
                  [&] {
                    std::promise<int> promise;
                    auto future = promise.get_future();
                    {
                      std::lock_guard lock(mutex);
                      queue.push_back(&promise);
                    }
                    changed.notify_one();
                    future.get();
                  }),
          "us", "std::thread"});
  {
    std::lock_guard lock(mutex);
    stop = true;
  }
  changed.notify_one();
  worker.join();
  std::vector<char> from(100'000'000, 1), to(100'000'000);
  report(
      {"put_100mb_ms", latency(5, [&] { std::memcpy(to.data(), from.data(), from.size()); }) / 1000, "ms", "memcpy"});
}

#ifdef MOBULA_BENCH_TBB
void measure_tbb() {
  constexpr int kTasks = 1'000'000;
  tbb::task_group group;
  std::atomic<long> count{0};
  report({"noop_fire_join_per_s",
          rate(5, kTasks,
               [&] {
                 for (int i = 0; i < kTasks; ++i) {
                   group.run([&] { count.fetch_add(1, std::memory_order_relaxed); });
                 }
                 group.wait();
               }),
          "tasks/s", "oneTBB"});
  tbb::task_arena arena(2, 1);
  report({"round_trip_hot_us",
          latency(5000,
                  [&] {
                    std::promise<int> promise;
                    auto future = promise.get_future();
                    arena.enqueue([&] { promise.set_value(1); });
                    future.get();
                  }),
          "us", "oneTBB"});
}
#endif

#ifdef MOBULA_BENCH_CAF
struct CounterState {
  long n = 0;
};
caf::behavior counter(caf::stateful_actor<CounterState>* self) {
  return {[=](int k) { self->state.n += k; }, [=](int, int) { return self->state.n; }};
}
caf::behavior pong(caf::event_based_actor*) {
  return {[](int k) { return k + 1; }};
}
caf::behavior ping(caf::event_based_actor* self, caf::actor peer, int left, std::promise<void>* done) {
  self->send(peer, 0);
  return {[=](int) mutable {
    if (--left == 0) {
      done->set_value();
      self->quit();
      return;
    }
    self->send(peer, 0);
  }};
}

void measure_caf() {
  caf::actor_system_config config;
  config.set("scheduler.max-threads", std::size_t{2});
  caf::actor_system system{config};
  caf::scoped_actor self{system};
  auto actor = system.spawn(counter);
  const auto ask = [&] {
    long value = 0;
    self->request(actor, caf::infinite, 0, 0).receive([&](long x) { value = x; }, [](caf::error&) { std::abort(); });
    return value;
  };
  constexpr int kMessages = 1'000'000;
  report({"actor_messages_per_s",
          rate(3, kMessages,
               [&] {
                 for (int i = 0; i < kMessages; ++i) caf::anon_send(actor, 1);
                 ask();
               }),
          "messages/s", "CAF"});
  constexpr int kRounds = 200'000;
  report({"actor_round_trips_per_s",
          rate(3, kRounds,
               [&] {
                 std::promise<void> done;
                 auto future = done.get_future();
                 auto peer = system.spawn(pong);
                 system.spawn(ping, peer, kRounds, &done);
                 future.get();
                 caf::anon_send_exit(peer, caf::exit_reason::user_shutdown);
               }),
          "round trips/s", "CAF"});
  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
}
#endif

}  // namespace

void measure_peers() {
  measure_std();
#ifdef MOBULA_BENCH_TBB
  measure_tbb();
#endif
#ifdef MOBULA_BENCH_CAF
  measure_caf();
#endif
}

}  // namespace bench
