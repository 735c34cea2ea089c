#include "mobula/core/local/local_actor.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "mobula/core/errors.hpp"
#include "mobula/core/ref.hpp"

namespace mobula {
namespace {

struct Log {
  std::vector<int> numbers;
  int add(int number) {
    numbers.push_back(number);
    return static_cast<int>(numbers.size());
  }
};

/// Runs calls where it is told to, and remembers who asked to be scheduled.
struct ScriptedHost : ActorHost {
  void schedule(LocalActor*) override { scheduled.fetch_add(1); }
  bool may_linger() const override { return false; }
  void run_call(Task* call) override {
    call->claim();
    call->invoke(false);
    call->drop_arguments();
    call->complete();
    call->release();
  }
  void fail_call(Task* call, std::exception_ptr error) override {
    call->drop_arguments();
    call->complete_with(std::move(error));
    call->release();
  }
  void actor_gone(LocalActor*) override { gone.fetch_add(1); }
  std::atomic<int> scheduled{0};
  std::atomic<int> gone{0};
};

ResourceSet one_cpu(bool wanted) {
  ResourceSet held;
  if (wanted) held.set("cpu", 1);
  return held;
}

struct Stage {
  explicit Stage(bool waiting_for_resources = false)
      : actor(new LocalActor(nullptr, host, alive, ActorOptions{}, one_cpu(waiting_for_resources))) {
    actor->set_instance(new Log, [](void* object) { delete static_cast<Log*>(object); });
  }
  template <class A>
  Ref<int> send(A argument) {
    using Call = task::CallTaskFor<task::CallMethod<&Log::add>, int (*)(int), A>::type;
    Task* call = new Call(nullptr, 2, actor, std::move(argument));
    Ref<int> ref(call);
    actor->send(call);
    return ref;
  }
  const std::vector<int>& numbers() const { return static_cast<Log*>(actor->instance())->numbers; }

  ScriptedHost host;
  std::shared_ptr<std::atomic<bool>> alive = std::make_shared<std::atomic<bool>>(true);
  LocalActor* actor;
};

TEST(LocalActor, IsScheduledOnceForAllCallsUntilItIsIdle) {
  Stage stage;
  for (int i = 0; i < 5; ++i) stage.send(i);
  EXPECT_EQ(stage.host.scheduled, 1);
  stage.actor->run();
  EXPECT_EQ(stage.numbers(), (std::vector<int>{0, 1, 2, 3, 4}));
  stage.send(5);
  EXPECT_EQ(stage.host.scheduled, 2);
  stage.actor->run();
  EXPECT_EQ(stage.numbers().size(), 6U);
  stage.actor->release();
}

TEST(LocalActor, GivesOthersTheirTurn) {
  Stage stage;
  for (int i = 0; i < 3000; ++i) stage.send(i);
  stage.actor->run();
  const std::size_t turn = stage.numbers().size();
  EXPECT_LT(turn, 3000U);
  EXPECT_EQ(stage.host.scheduled, 2);
  for (int runs = 1; stage.host.scheduled > runs; ++runs) stage.actor->run();
  EXPECT_EQ(stage.numbers().size(), 3000U);
  EXPECT_EQ(stage.numbers().back(), 2999);
  stage.actor->release();
}

TEST(LocalActor, HoldsItsCallsBackUntilItMayStart) {
  Stage stage(true);
  stage.send(1);
  EXPECT_EQ(stage.host.scheduled, 0);
  stage.actor->start();
  EXPECT_EQ(stage.host.scheduled, 1);
  stage.actor->run();
  EXPECT_EQ(stage.numbers().size(), 1U);
  ScriptedHost& host = stage.host;
  stage.actor->release();
  EXPECT_EQ(host.gone, 1);
}

TEST(LocalActor, WaitsForTheArgumentOfItsOldestCall) {
  Stage stage;
  Stage source;
  Ref<int> argument = source.send(7);
  Ref<int> first = stage.send(argument);
  Ref<int> second = stage.send(8);
  stage.actor->run();
  EXPECT_FALSE(first.ready());
  EXPECT_FALSE(second.ready());
  source.actor->run();  // the argument is 1: the length of the log
  EXPECT_EQ(stage.host.scheduled, 2);
  stage.actor->run();
  EXPECT_EQ(stage.numbers(), (std::vector<int>{1, 8}));
  stage.actor->release();
  source.actor->release();
}

TEST(LocalActor, FailsItsCallsOnceItIsKilled) {
  Stage stage;
  Ref<int> waiting = stage.send(1);
  stage.actor->kill(std::make_exception_ptr(CancelledError("enough")));
  EXPECT_FALSE(stage.actor->alive());
  stage.actor->run();
  EXPECT_EQ(stage.actor->instance(), nullptr);
  Ref<int> late = stage.send(2);
  stage.actor->run();
  for (const Ref<int>& ref : {waiting, late}) {
    ASSERT_TRUE(ref.ready());
    EXPECT_THROW(std::rethrow_exception(ref.object()->error()), CancelledError);
  }
  stage.actor->release();
}

TEST(LocalActor, KeepsEachSendersOrder) {
  Stage stage;
  constexpr int kSenders = 3;
  constexpr int kCalls = 5000;
  std::atomic<int> done{0};
  std::vector<std::thread> senders;
  for (int sender = 0; sender < kSenders; ++sender) {
    senders.emplace_back([&, sender] {
      for (int i = 0; i < kCalls; ++i) stage.send(sender * kCalls + i);
      ++done;
    });
  }
  // One thread stands for whichever runs the actor next: it runs as often as it was scheduled.
  for (int runs = 0; done < kSenders || runs < stage.host.scheduled;) {
    if (runs == stage.host.scheduled) {
      std::this_thread::yield();
      continue;
    }
    ++runs;
    stage.actor->run();
  }
  for (std::thread& sender : senders) sender.join();
  ASSERT_EQ(stage.numbers().size(), static_cast<std::size_t>(kSenders * kCalls));
  std::vector<int> last(kSenders, -1);
  for (int number : stage.numbers()) {
    int& before = last[static_cast<std::size_t>(number / kCalls)];
    ASSERT_EQ(number % kCalls, before + 1);
    before = number % kCalls;
  }
  stage.actor->release();
}

}  // namespace
}  // namespace mobula
