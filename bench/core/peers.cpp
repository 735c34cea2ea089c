// The same questions put to what else there is: std::async, a thread behind a condition variable, a bare futex, oneTBB,
// Taskflow, CAF.
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "measure.hpp"
#include "mobula/core/local/futex.hpp"

#ifdef MOBULA_BENCH_TBB
#include <tbb/task_arena.h>
#include <tbb/task_group.h>
#endif
#ifdef MOBULA_BENCH_TASKFLOW
#include <taskflow/taskflow.hpp>
#endif
#ifdef MOBULA_BENCH_CAF
#include <caf/all.hpp>
#endif

using namespace std::chrono_literals;

namespace bench {
namespace {

constexpr int kTasks = 1'000'000;
constexpr int kHotTrips = 5000;
constexpr int kParkedTrips = 60;

/// Measures a round trip while the other side is hot, or after it has slept.
template <class F>
std::function<double()> round_trip(bool parked, F trip) {
  if (!parked) return [trip] { return latency(kHotTrips, trip); };
  return [trip] { return latency(kParkedTrips, trip, [] { std::this_thread::sleep_for(4ms); }); };
}

/// What a thread that sleeps costs at the least: it is woken, answers by a store, and sleeps again.
struct FutexEcho {
  std::atomic<std::uint32_t> question{0};
  std::atomic<std::uint32_t> answer{0};
  std::atomic<bool> stop{false};
  std::thread thread{[this] {
    for (std::uint32_t seen = 0;;) {
      while (question.load() == seen) mobula::futex_wait(question, seen);
      seen = question.load();
      if (stop) return;
      answer.store(seen);
    }
  }};
  void ask() {
    const std::uint32_t number = question.fetch_add(1) + 1;
    mobula::futex_wake(&question, 1);
    mobula::spin_yield();
    while (answer.load() != number) mobula::spin_pause();
  }
  ~FutexEcho() {
    stop = true;
    question.fetch_add(1);
    mobula::futex_wake(&question, 1);
    thread.join();
  }
};

/// A worker as one writes it with the standard library.
struct StandardThread {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::promise<int>*> queue;
  bool stop = false;
  std::thread thread{[this] {
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
  }};
  void ask() {
    std::promise<int> promise;
    auto future = promise.get_future();
    {
      std::lock_guard lock(mutex);
      queue.push_back(&promise);
    }
    changed.notify_one();
    future.get();
  }
  ~StandardThread() {
    {
      std::lock_guard lock(mutex);
      stop = true;
    }
    changed.notify_one();
    thread.join();
  }
};

double measure_async() {
  constexpr int kAsyncs = 5000;
  return rate(kAsyncs, [] {
    std::vector<std::future<int>> futures;
    for (int batch = 0; batch < kAsyncs / 200; ++batch) {
      futures.clear();
      for (int i = 0; i < 200; ++i) futures.push_back(std::async(std::launch::async, [] { return 1; }));
      for (auto& future : futures) future.get();
    }
  });
}

Contestant tbb_for(const std::string& metric) {
  Contestant tbb{"oneTBB", {}, "libtbb-dev"};
#ifdef MOBULA_BENCH_TBB
  if (metric == "noop_fire_join_per_s") {
    tbb.run = [] {
      std::atomic<long> count{0};
      tbb::task_group group;
      return rate(kTasks, [&] {
        for (int i = 0; i < kTasks; ++i) group.run([&] { count.fetch_add(1, std::memory_order_relaxed); });
        group.wait();
      });
    };
  } else {
    auto arena = std::make_shared<tbb::task_arena>(2, 1);
    tbb.run = round_trip(metric == "round_trip_parked_us", [arena] {
      std::promise<int> promise;
      auto future = promise.get_future();
      arena->enqueue([&] { promise.set_value(1); });
      future.get();
    });
  }
#endif
  (void)metric;
  return tbb;
}

Contestant taskflow_for(const std::string& metric) {
  Contestant taskflow{"Taskflow", {}, "Taskflow's headers, named by -DMOBULA_TASKFLOW_DIR=FOLDER"};
#ifdef MOBULA_BENCH_TASKFLOW
  auto executor = std::make_shared<tf::Executor>(2);
  if (metric == "noop_fire_join_per_s") {
    taskflow.run = [executor] {
      std::atomic<long> count{0};
      return rate(kTasks, [&] {
        for (int i = 0; i < kTasks; ++i) executor->silent_async([&] { count.fetch_add(1, std::memory_order_relaxed); });
        executor->wait_for_all();
      });
    };
  } else if (metric == "noop_typed_result_per_s") {
    taskflow.run = [executor] {
      return rate(kTasks, [&] {
        std::vector<std::future<int>> futures;
        futures.reserve(kTasks);
        for (int i = 0; i < kTasks; ++i) futures.push_back(executor->async([] { return 1; }));
        for (auto& future : futures) future.get();
      });
    };
  } else {
    taskflow.run =
        round_trip(metric == "round_trip_parked_us", [executor] { executor->async([] { return 1; }).get(); });
  }
#endif
  (void)metric;
  return taskflow;
}

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

struct CafSystem {
  caf::actor_system_config config;
  std::unique_ptr<caf::actor_system> system;
  CafSystem() {
    config.set("scheduler.max-threads", std::size_t{2});
    system = std::make_unique<caf::actor_system>(config);
  }
  static long ask(caf::scoped_actor& self, const caf::actor& actor) {
    long value = 0;
    self->request(actor, caf::infinite, 0, 0).receive([&](long x) { value = x; }, [](caf::error&) { std::abort(); });
    return value;
  }
};
#endif

Contestant caf_for(const std::string& metric) {
  Contestant caf{"CAF", {}, "libcaf-dev"};
#ifdef MOBULA_BENCH_CAF
  auto shared = std::make_shared<CafSystem>();
  if (metric == "actor_round_trips_per_s") {
    caf.run = [system = shared] {
      constexpr int kRounds = 200'000;
      return rate(kRounds, [&] {
        std::promise<void> done;
        auto future = done.get_future();
        auto peer = system->system->spawn(pong);
        system->system->spawn(ping, peer, kRounds, &done);
        future.get();
        caf::anon_send_exit(peer, caf::exit_reason::user_shutdown);
      });
    };
    return caf;
  }
  const auto with_counter = [system = shared](const auto& measure) {
    caf::scoped_actor self{*system->system};
    auto actor = system->system->spawn(counter);
    const double value = measure(self, actor);
    caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
    return value;
  };
  if (metric == "actor_messages_per_s") {
    caf.run = [with_counter] {
      return with_counter([](caf::scoped_actor& self, caf::actor& actor) {
        return rate(kTasks, [&] {
          for (int i = 0; i < kTasks; ++i) caf::anon_send(actor, 1);
          CafSystem::ask(self, actor);
        });
      });
    };
  } else {
    caf.run = [with_counter, parked = metric == "round_trip_parked_us"] {
      return with_counter([&](caf::scoped_actor& self, caf::actor& actor) {
        return round_trip(parked, [&] { CafSystem::ask(self, actor); })();
      });
    };
  }
#endif
  (void)metric;
  return caf;
}

}  // namespace

std::vector<Contestant> peers(const std::string& metric) {
  if (metric == "noop_fire_join_per_s") return {taskflow_for(metric), tbb_for(metric)};
  if (metric == "noop_typed_result_per_s") return {taskflow_for(metric), {"std::async", measure_async, {}}};
  if (metric == "round_trip_hot_us" || metric == "round_trip_parked_us") {
    const bool parked = metric == "round_trip_parked_us";
    auto standard = std::make_shared<StandardThread>();
    std::vector<Contestant> all{{"std::thread", round_trip(parked, [standard] { standard->ask(); }), {}},
                                taskflow_for(metric),
                                tbb_for(metric),
                                caf_for(metric)};
    if (parked) {
      auto echo = std::make_shared<FutexEcho>();
      all.push_back({"bare futex", round_trip(true, [echo] { echo->ask(); }), {}});
    }
    return all;
  }
  if (metric == "actor_messages_per_s" || metric == "actor_round_trips_per_s") return {caf_for(metric)};
  if (metric == "put_100mb_ms") {
    auto from = std::make_shared<std::vector<char>>(100'000'000, 1);
    auto to = std::make_shared<std::vector<char>>(from->size());
    return {{"memcpy",
             [from, to] { return latency(1, [&] { std::memcpy(to->data(), from->data(), from->size()); }) / 1000; },
             {}}};
  }
  return {};
}

}  // namespace bench
