// What can't be done is refused by name, at the earliest moment; what could hang doesn't.
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "every_engine.hpp"

using namespace std::chrono_literals;

namespace contract_bad_input {

using mobula::Actor;
using mobula::Error;
using mobula::ErrorCode;
using mobula::Isolation;
using mobula::Ref;
using mobula::Runtime;
using mobula::RuntimeOptions;
using mobula::TaskOptions;

int square(int x) {
  return x * x;
}
int patient() {
  while (!Runtime::cancelled()) usleep(200);
  return 1;
}
/// Goes from thread to process and back, each waiting for the next.
int zigzag(int depth) {
  if (depth == 0) return 0;
  Runtime& rt = Runtime::current();
  const Isolation next = depth % 2 == 0 ? Isolation::process : Isolation::thread;
  return rt.get(rt.with(TaskOptions{.isolation = next}).remote<zigzag>(depth - 1)) + 1;
}
class Friend {
 public:
  void meet(Actor<Friend> other) { other_ = std::move(other); }
  int answer() { return 1; }
  int ask() { return Runtime::current().get(other_.call<&Friend::answer>()); }
  int ask_back() { return Runtime::current().get(other_.call<&Friend::ask>()); }
  int ask_for_a_while() { return Runtime::current().get(other_.call<&Friend::answer>(), 20ms); }

 private:
  Actor<Friend> other_;
};

template <class F>
Error refusal(const F& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return {ErrorCode::internal, "nothing was refused"};
}

class BadInput : public testing::TestWithParam<contract::EngineCase> {
 protected:
  std::unique_ptr<Runtime> rt = std::make_unique<Runtime>(GetParam().options);
};

TEST_P(BadInput, IsRefusedAfterShutdown) {
  const auto done = rt->remote<square>(3);
  EXPECT_EQ(rt->get(done), 9);
  const auto running = rt->remote<patient>();
  const auto counter = rt->actor<Friend>();
  EXPECT_EQ(rt->get(counter.call<&Friend::answer>()), 1);
  rt->cancel(running);
  rt->shutdown();
  EXPECT_EQ(rt->get(done), 9);  // what was ready stays
  EXPECT_EQ(refusal([&] { rt->remote<square>(1); }).code(), ErrorCode::unavailable);
  EXPECT_EQ(refusal([&] { rt->put(1); }).code(), ErrorCode::unavailable);
  EXPECT_EQ(refusal([&] { rt->actor<Friend>(); }).code(), ErrorCode::unavailable);
  const Error refused = refusal([&] { rt->nodes(); });
  EXPECT_EQ(refused.code(), ErrorCode::unavailable);
  EXPECT_FALSE(refused.hint().empty());
}

TEST_P(BadInput, IsARefOfAnotherRuntime) {
  const auto old = rt->remote<square>(3);
  EXPECT_EQ(rt->get(old), 9);
  rt.reset();
  rt = std::make_unique<Runtime>(GetParam().options);
  for (const Error& error : {refusal([&] { rt->get(old); }), refusal([&] {
                               rt->wait(std::vector{old, rt->put(1)}, {.num_ready = 2});
                             }),
                             refusal([&] { rt->cancel(old); }), refusal([&] { rt->get(rt->remote<square>(old)); })}) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.message();
    EXPECT_NE(error.message().find("another Runtime"), std::string::npos) << error.message();
  }
  EXPECT_EQ(refusal([&] { rt->get(Ref<int>()); }).code(), ErrorCode::invalid_argument);
}

TEST_P(BadInput, IsACircleOfActorsThatWaitForOneAnother) {
  auto alone = rt->actor<Friend>();
  rt->get(alone.call<&Friend::meet>(alone));
  EXPECT_EQ(refusal([&] { rt->get(alone.call<&Friend::ask>(), 10s); }).code(), ErrorCode::invalid_argument);
  auto one = rt->actor<Friend>();
  auto two = rt->actor<Friend>();
  rt->get(one.call<&Friend::meet>(two));
  rt->get(two.call<&Friend::meet>(one));
  const Error circle = refusal([&] { rt->get(one.call<&Friend::ask_back>(), 10s); });
  EXPECT_EQ(circle.code(), ErrorCode::invalid_argument);
  EXPECT_NE(circle.message().find("would never end: "), std::string::npos) << circle.message();
  EXPECT_NE(circle.message().find("Friend::ask waits for"), std::string::npos) << circle.message();
  // One that gives up by itself may be let go on until then. The actors go on in any case.
  EXPECT_THROW(rt->get(alone.call<&Friend::ask_for_a_while>()), Error);
  EXPECT_EQ(rt->get(one.call<&Friend::ask>()), 1);
  EXPECT_EQ(rt->get(alone.call<&Friend::answer>()), 1);
}

TEST_P(BadInput, IsAResourceThatNoNodeHas) {
  const Error missing = refusal([&] { rt->with(TaskOptions{.resources = {{"microscope", 1}}}).remote<square>(1); });
  EXPECT_EQ(missing.code(), ErrorCode::resource);
  EXPECT_NE(missing.message().find("microscope"), std::string::npos) << missing.message();
  EXPECT_FALSE(missing.hint().empty());
  const Error many = refusal([&] { rt->with(TaskOptions{.resources = {{"scanner", 2}}}).remote<square>(1); });
  EXPECT_EQ(many.code(), ErrorCode::resource);
  EXPECT_EQ(refusal([&] { rt->with(mobula::ActorOptions{.gpus = 1}).actor<Friend>(); }).code(), ErrorCode::resource);
  EXPECT_EQ(rt->get(rt->with(TaskOptions{.resources = {{"scanner", 1}}}).remote<square>(2)), 4);
}

INSTANTIATE_TEST_SUITE_P(Contract, BadInput, testing::ValuesIn(contract::embedded_engines()), contract::engine_name);

TEST(ThreadsAndProcesses, WaitForOneAnotherOnOneProcessor) {
  Runtime rt(RuntimeOptions{.num_cpus = 1});
  EXPECT_EQ(rt.get(rt.remote<zigzag>(7)), 7);
}

// Small tasks of one kind, always more than there is room for, keep no large one of the other kind from its turn.
TEST(ThreadsAndProcesses, StarveNeitherLargeTasksNorOneAnother) {
  Runtime rt(RuntimeOptions{.num_cpus = 2, .resources = {{"scanner", 1}}});
  for (const Isolation large_one : {Isolation::thread, Isolation::process}) {
    const Isolation small_one = large_one == Isolation::thread ? Isolation::process : Isolation::thread;
    const TaskOptions half{.cpus = 0.5, .isolation = small_one};
    std::vector<Ref<int>> small;
    for (int i = 0; i < 20; ++i) small.push_back(rt.with(half).remote<square>(i));
    const TaskOptions all{.cpus = 2, .resources = {{"scanner", 1}}, .isolation = large_one};
    const auto large = rt.with(all).remote<square>(10);
    int num_later = 0;
    while (!large.ready()) {
      auto done = rt.wait(std::move(small), {.num_ready = 1});
      small = std::move(done.pending);
      small.push_back(rt.with(half).remote<square>(1));
      ASSERT_LT(++num_later, 100'000) << "starved";
    }
    EXPECT_EQ(rt.get(large), 100);
    rt.get(small);
  }
}

}  // namespace contract_bad_input
