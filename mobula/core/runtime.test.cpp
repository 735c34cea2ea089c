#include "mobula/core/runtime.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include "mobula/core.hpp"

namespace mobula {
namespace {

using namespace std::chrono_literals;

int square(int x) {
  return x * x;
}
int add(int a, int b) {
  return a + b;
}
std::string join(const std::string& a, std::string b) {
  return a + b;
}
void nothing() {}
int fail(int x) {
  throw std::out_of_range("x is " + std::to_string(x));
}

/// A door that tasks wait at until the test opens it.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  int waiting = 0;
  void wait() {
    std::unique_lock lock(mutex);
    ++waiting;
    changed.notify_all();
    changed.wait(lock, [&] { return open; });
  }
  void open_up() {
    std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
  void await_waiting(int count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return waiting >= count; });
  }
};
using SharedGate = Local<std::shared_ptr<Gate>>;
SharedGate make_gate() {
  return {std::make_shared<Gate>()};
}
int pass_gate(SharedGate gate, int x) {
  gate.value->wait();
  return x;
}

RuntimeOptions two() {
  return {.num_cpus = 2};
}

TEST(Runtime, RunsFunctionsAndTakesRefsAsArguments) {
  Runtime rt(two());
  Ref<int> a = rt.remote<square>(3);
  Ref<int> b = rt.remote<add>(a, 1);
  Ref<std::string> c = rt.remote<join>("x", std::string("y"));
  EXPECT_EQ(rt.get(b), 10);
  EXPECT_EQ(rt.get(a), 9);
  EXPECT_EQ(rt.get(c), "xy");
  rt.get(rt.remote<nothing>());
  EXPECT_EQ(rt.get(rt.remote<[](double x) { return x / 2; }>(5)), 2.5);
}

TEST(Runtime, ReturnsManyValuesInOrder) {
  Runtime rt(two());
  std::vector<Ref<int>> refs;
  for (int i = 0; i < 10'000; ++i) refs.push_back(rt.remote<square>(i));
  const std::vector<int> values = rt.get(refs);
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(values[static_cast<std::size_t>(i)], i * i);
}

TEST(Runtime, RethrowsATasksExceptionWithItsTypeAndWhereItCameFrom) {
  Runtime rt(two());
  Ref<int> failed = rt.remote<fail>(7);
  Ref<int> dependent = rt.remote<add>(failed, 1);
  try {
    rt.get(dependent);
    FAIL();
  } catch (const TaskError& error) {
    EXPECT_EQ(error.type(), "std::out_of_range");
    EXPECT_EQ(error.message(), "x is 7");
    ASSERT_EQ(error.trace().size(), 3U);
    EXPECT_NE(error.trace()[0].find("fail"), std::string::npos) << error.trace()[0];
    EXPECT_NE(error.trace()[0].find("called by the program"), std::string::npos) << error.trace()[0];
    EXPECT_TRUE(error.trace()[1].starts_with("argument 1 of ")) << error.trace()[1];
    EXPECT_NE(error.trace()[2].find("add"), std::string::npos) << error.trace()[2];
  }
}

TEST(Runtime, KeepsMobulaErrorsAsTheyAre) {
  Runtime rt(two());
  try {
    rt.get(rt.remote<[]() -> int { throw Error(ErrorCode::corrupt, "row 7", "repair it"); }>());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    EXPECT_EQ(error.hint(), "repair it");
  }
}

TEST(Runtime, GivesUpAfterTheTimeoutAndGoesOnAfterIt) {
  Runtime rt(two());
  auto gate = make_gate();
  Ref<int> late = rt.remote<pass_gate>(gate, 5);
  EXPECT_THROW(rt.get(late, 1ms), TimeoutError);
  gate.value->open_up();
  EXPECT_EQ(rt.get(late), 5);
}

TEST(Runtime, WaitSortsRefsIntoReadyAndPending) {
  Runtime rt(two());
  auto gate = make_gate();
  std::vector<Ref<int>> refs{rt.remote<pass_gate>(gate, 1), rt.remote<square>(2), rt.remote<square>(3)};
  auto [ready, pending] = rt.wait(refs, {.num_ready = 2});
  ASSERT_EQ(ready.size(), 2U);
  EXPECT_EQ(ready[0], refs[1]);
  EXPECT_EQ(ready[1], refs[2]);
  EXPECT_EQ(pending, (std::vector<Ref<int>>{refs[0]}));
  auto none = rt.wait(pending, {.num_ready = 1, .timeout = 1ms});
  EXPECT_TRUE(none.ready.empty());
  EXPECT_EQ(none.pending.size(), 1U);
  gate.value->open_up();
  EXPECT_EQ(rt.wait(pending).ready.size(), 1U);
  auto first = rt.wait(refs, {.num_ready = 1});
  EXPECT_EQ(first.ready.size(), 1U);
  EXPECT_EQ(first.pending.size(), 2U);
}

TEST(Runtime, PutsValuesOnceAndShowsThemWithoutACopy) {
  Runtime rt(two());
  std::vector<float> numbers(1000, 2.0F);
  const float* data = numbers.data();
  Ref<std::vector<float>> ref = rt.put(std::move(numbers));
  EXPECT_EQ(rt.view(ref)->data(), data);
  const auto address =
      rt.remote<[](const std::vector<float>& v) { return reinterpret_cast<std::uintptr_t>(v.data()); }>(ref);
  EXPECT_EQ(rt.get(address), reinterpret_cast<std::uintptr_t>(data));
  const auto sum = rt.remote<[](View<std::vector<float>> v) {
    double total = 0;
    for (float x : *v) total += x;
    return total;
  }>(ref);
  EXPECT_EQ(rt.get(sum), 2000.0);
}

TEST(Runtime, MovesWhatCanNotBeCopied) {
  Runtime rt(two());
  auto ref = rt.remote<[] { return Local<std::unique_ptr<int>>{std::make_unique<int>(4)}; }>();
  EXPECT_EQ(*rt.get(std::move(ref)).value, 4);
}

int fibonacci(int n) {
  if (n < 2) return n;
  Runtime& rt = Runtime::current();
  Ref<int> a = rt.remote<fibonacci>(n - 1);
  Ref<int> b = rt.remote<fibonacci>(n - 2);
  return rt.get(a) + rt.get(b);
}

TEST(Runtime, NestedTasksComplete) {
  Runtime rt(two());
  EXPECT_EQ(rt.get(rt.remote<fibonacci>(18)), 2584);
}

int wait_for_others(SharedGate gate, int depth) {
  if (depth == 0) {
    gate.value->open_up();
    return 1;
  }
  Runtime& rt = Runtime::current();
  // A task with options never runs on its caller's own stack: every level needs a slot.
  Ref<int> next = rt.with(TaskOptions{.cpus = 1, .name = "deeper"}).remote<wait_for_others>(gate, depth - 1);
  return 1 + rt.get(next);
}

TEST(Runtime, LendsTheSlotsOfTasksThatWait) {
  Runtime rt(two());
  auto gate = make_gate();
  std::vector<Ref<int>> blocked;
  for (int i = 0; i < 8; ++i) blocked.push_back(rt.remote<wait_for_others>(gate, 20));
  for (int value : rt.get(blocked)) EXPECT_EQ(value, 21);
}

TEST(Runtime, RunsNoMoreTasksAtOnceThanItHasProcessors) {
  Runtime rt(two());
  static std::atomic<int> running, most;
  running = most = 0;
  std::vector<Ref<int>> refs;
  for (int i = 0; i < 2000; ++i) {
    refs.push_back(rt.remote<[](int x) {
      const int now = ++running;
      int seen = most;
      while (seen < now && !most.compare_exchange_weak(seen, now)) {
      }
      for (int spin = 0; spin < 1000; ++spin) std::atomic_signal_fence(std::memory_order_seq_cst);
      --running;
      return x;
    }>(i));
  }
  rt.get(refs);
  EXPECT_LE(most, 2);
}

TEST(Runtime, CancelsAQueuedTaskAndTellsARunningOne) {
  Runtime rt({.num_cpus = 1});
  auto gate = make_gate();
  Ref<int> first = rt.remote<pass_gate>(gate, 1);
  gate.value->await_waiting(1);
  Ref<int> queued = rt.remote<square>(2);
  EXPECT_TRUE(rt.cancel(queued));
  EXPECT_THROW(rt.get(queued), CancelledError);
  EXPECT_THROW(rt.cancel(first, Cancel::forced), Error);
  gate.value->open_up();
  EXPECT_EQ(rt.get(first), 1);
  EXPECT_FALSE(rt.cancel(first));

  auto started = make_gate();
  Ref<bool> running = rt.remote<[](SharedGate gate) {
    gate.value->wait();
    while (!Runtime::cancelled()) std::this_thread::yield();
    return true;
  }>(started);
  started.value->await_waiting(1);
  EXPECT_TRUE(rt.cancel(running));
  started.value->open_up();
  EXPECT_TRUE(rt.get(running));
}

TEST(Runtime, RetriesExceptionsWhereToldTo) {
  Runtime rt(two());
  static std::atomic<int> attempts;
  attempts = 0;
  auto flaky = rt.with(TaskOptions{.retries = 3, .retry_exceptions = true}).remote<[](std::string text) {
    if (++attempts < 3) throw std::runtime_error("flaky");
    return text;
  }>("kept");
  EXPECT_EQ(rt.get(flaky), "kept");
  EXPECT_EQ(attempts, 3);
  attempts = -100;
  auto hopeless = rt.with(TaskOptions{.retries = 2, .retry_exceptions = true}).remote<fail>(1);
  EXPECT_THROW(rt.get(hopeless), TaskError);
}

TEST(Runtime, RefusesResourcesThatNoNodeHas) {
  Runtime rt({.num_cpus = 2, .resources = {{"scanner", 1}}});
  try {
    rt.with(TaskOptions{.resources = {{"printer", 1}}}).remote<square>(1);
    FAIL();
  } catch (const ResourceError& error) {
    EXPECT_NE(error.message().find("printer"), std::string::npos);
    EXPECT_NE(error.hint().find("scanner"), std::string::npos);
  }
  EXPECT_THROW(rt.with(TaskOptions{.cpus = 3}).remote<square>(1), ResourceError);
  EXPECT_EQ(rt.resources().get("scanner"), Amount{1});
}

TEST(Runtime, NeverHandsOutMoreOfAResourceThanThereIs) {
  Runtime rt({.num_cpus = 4, .resources = {{"scanner", 1}}});
  static std::atomic<int> scanning, most;
  scanning = most = 0;
  std::vector<Ref<int>> refs;
  for (int i = 0; i < 200; ++i) {
    refs.push_back(rt.with(TaskOptions{.cpus = 0.5, .resources = {{"scanner", 0.5}}}).remote<[](int x) {
      const int now = ++scanning;
      int seen = most;
      while (seen < now && !most.compare_exchange_weak(seen, now)) {
      }
      std::this_thread::yield();
      --scanning;
      return x;
    }>(i));
    refs.push_back(rt.remote<square>(i));
    if (i % 10 == 0) refs.push_back(rt.with(TaskOptions{.cpus = 4}).remote<square>(i));
  }
  rt.get(refs);
  EXPECT_LE(most, 2);
  EXPECT_GE(most, 1);
}

struct Counter {
  int n = 0;
  explicit Counter(int start = 0) : n(start) {}
  int add(int k) { return n += k; }
  int get() const { return n; }
  void fail() { throw std::runtime_error("no"); }
};

TEST(Actor, RunsCallsInOrder) {
  Runtime rt(two());
  auto counter = rt.actor<Counter>(5);
  EXPECT_EQ(rt.get(counter.call<&Counter::add>(rt.remote<square>(2))), 9);
  std::vector<Ref<int>> refs;
  for (int i = 1; i <= 10'000; ++i) refs.push_back(counter.call<&Counter::add>(1));
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(rt.get(refs[static_cast<std::size_t>(i)]), 10 + i);
}

TEST(Actor, KeepsTheOrderWhereACallWaitsForItsArgument) {
  Runtime rt(two());
  auto counter = rt.actor<Counter>();
  auto gate = make_gate();
  Ref<int> late = counter.call<&Counter::add>(rt.remote<pass_gate>(gate, 10));
  Ref<int> after = counter.call<&Counter::get>();
  EXPECT_THROW(rt.get(after, 1ms), TimeoutError);
  gate.value->open_up();
  EXPECT_EQ(rt.get(after), 10);
  EXPECT_EQ(rt.get(late), 10);
}

TEST(Actor, GoesOnAfterAnException) {
  Runtime rt(two());
  auto counter = rt.actor<Counter>();
  EXPECT_THROW(rt.get(counter.call<&Counter::fail>()), TaskError);
  EXPECT_EQ(rt.get(counter.call<&Counter::add>(1)), 1);
}

struct Unmakeable {
  Unmakeable() { throw std::runtime_error("can't be made"); }
  int get() { return 1; }
};

TEST(Actor, FailsEveryCallWhereItsConstructorThrows) {
  Runtime rt(two());
  auto actor = rt.actor<Unmakeable>();
  for (int i = 0; i < 2; ++i) {
    try {
      rt.get(actor.call<&Unmakeable::get>());
      FAIL();
    } catch (const TaskError& error) {
      EXPECT_EQ(error.message(), "can't be made");
    }
  }
}

TEST(Actor, IsFoundByItsNameUntilItIsKilled) {
  Runtime rt(two());
  {
    auto counter = rt.with(ActorOptions{.name = "c"}).actor<Counter>(3);
    EXPECT_THROW(rt.with(ActorOptions{.name = "c"}).actor<Counter>(), Error);
  }
  auto found = rt.find_actor<Counter>("c");
  EXPECT_EQ(rt.get(found.call<&Counter::get>()), 3);
  EXPECT_THROW(rt.find_actor<Unmakeable>("c"), Error);
  rt.kill(found);
  EXPECT_THROW(rt.get(found.call<&Counter::get>()), WorkerDiedError);
  EXPECT_THROW(rt.find_actor<Counter>("c"), Error);
}

struct Watched {
  Local<std::shared_ptr<std::atomic<int>>> alive;
  explicit Watched(Local<std::shared_ptr<std::atomic<int>>> count) : alive(std::move(count)) { ++*alive.value; }
  ~Watched() { --*alive.value; }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  int touch() { return *alive.value; }
};

TEST(Actor, EndsWithItsLastHandle) {
  auto alive = std::make_shared<std::atomic<int>>(0);
  {
    Runtime rt(two());
    auto actor = rt.actor<Watched>(Local<std::shared_ptr<std::atomic<int>>>{alive});
    auto copy = actor;
    EXPECT_EQ(rt.get(copy.call<&Watched::touch>()), 1);
  }
  EXPECT_EQ(*alive, 0);
}

struct SelfCaller {
  Actor<SelfCaller> self;
  int wait_for_self() { return Runtime::current().get(self.call<&SelfCaller::get>()); }
  void meet(Actor<SelfCaller> me) { self = std::move(me); }
  int get() { return 1; }
};

TEST(Actor, RefusesToWaitForItself) {
  Runtime rt(two());
  auto actor = rt.actor<SelfCaller>();
  rt.get(actor.call<&SelfCaller::meet>(actor));
  try {
    rt.get(actor.call<&SelfCaller::wait_for_self>());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
  }
  rt.get(actor.call<&SelfCaller::meet>(Actor<SelfCaller>{}));
}

struct Pong {
  int hit(int n) { return n + 1; }
};
struct Ping {
  int play(Actor<Pong> pong, int rounds) {
    int n = 0;
    for (int i = 0; i < rounds; ++i) n = Runtime::current().get(pong.call<&Pong::hit>(n));
    return n;
  }
};

TEST(Actor, CallsOtherActors) {
  Runtime rt({.num_cpus = 1});
  auto ping = rt.actor<Ping>();
  EXPECT_EQ(rt.get(ping.call<&Ping::play>(rt.actor<Pong>(), 500)), 500);
}

TEST(TaskGroup, JoinsManyTasksAndThrowsTheFirstError) {
  Runtime rt(two());
  static std::atomic<int> count;
  count = 0;
  TaskGroup group(rt);
  for (int i = 0; i < 50'000; ++i) group.run<[](int k) { count += k; }>(1);
  group.wait();
  EXPECT_EQ(count, 50'000);
  group.run<fail>(3);
  EXPECT_THROW(group.wait(), TaskError);
  group.wait();
}

TEST(Runtime, ReadsAndRemovesItsFlags) {
  std::string words[] = {"program", "--num-cpus", "3", "--other", "--isolation=thread", "--", "--num-cpus"};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int argc = static_cast<int>(argv.size()) - 1;
  Runtime rt(argc, argv.data());
  EXPECT_EQ(rt.options().num_cpus, 3);
  ASSERT_EQ(argc, 4);
  EXPECT_STREQ(argv[1], "--other");
  EXPECT_STREQ(argv[3], "--num-cpus");
  EXPECT_EQ(argv[4], nullptr);
}

TEST(Runtime, RefusesWrongSettings) {
  EXPECT_THROW(Runtime({.engine = "nowhere"}), Error);
  EXPECT_THROW(Runtime({.num_cpus = -1}), Error);
  EXPECT_THROW(Runtime({.resources = {{"cpu", 1}}}), Error);
  Runtime rt(two());
  EXPECT_THROW(Runtime{two()}, Error);
}

TEST(Runtime, RefusesForeignAndEmptyRefsAndUseAfterShutdown) {
  Ref<int> old;
  {
    Runtime rt(two());
    old = rt.remote<square>(2);
    rt.get(old);
    EXPECT_THROW(rt.get(Ref<int>()), Error);
    rt.shutdown();
    EXPECT_EQ(rt.get(old), 4);
    EXPECT_THROW(rt.remote<square>(1), Error);
    EXPECT_THROW(rt.put(1), Error);
  }
  Runtime next(two());
  EXPECT_THROW(next.get(old), Error);
}

TEST(Runtime, CancelsWhatIsQueuedAtItsEnd) {
  auto gate = make_gate();
  Ref<int> queued, dependent;
  auto rt = std::make_unique<Runtime>(RuntimeOptions{.num_cpus = 1});
  Ref<int> running = rt->remote<pass_gate>(gate, 1);
  gate.value->await_waiting(1);
  queued = rt->remote<square>(2);
  dependent = rt->remote<add>(queued, 1);
  std::thread opener([&] { gate.value->open_up(); });
  rt.reset();
  opener.join();
  EXPECT_TRUE(running.ready());
  ASSERT_TRUE(queued.ready());
  ASSERT_TRUE(dependent.ready());
}

}  // namespace
}  // namespace mobula
