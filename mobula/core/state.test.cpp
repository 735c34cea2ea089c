#include "mobula/core/state.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>

#include "mobula/core/runtime.hpp"
#include "mobula/core/state_server.hpp"

namespace mobula {
namespace {

std::atomic<bool> open_gate{false};

int wait_for_gate(int x) {
  while (!open_gate) std::this_thread::yield();
  if (x < 0) throw std::runtime_error("negative");
  return x;
}

struct Idle {
  int get() { return 1; }
};

TEST(State, ShowsWhatRunsAndSumsWhatHasRunWhileRecorded) {
  Runtime rt(RuntimeOptions{.num_cpus = 2});
  open_gate = true;
  rt.get(rt.remote<wait_for_gate>(1));
  EXPECT_TRUE(rt.state().tasks.functions.empty());
  rt.record(true);
  EXPECT_THROW(rt.get(rt.remote<wait_for_gate>(-1)), TaskError);
  open_gate = false;
  auto held = rt.remote<wait_for_gate>(2);
  RuntimeState state = rt.state();
  while (state.tasks.running.empty()) state = rt.state();
  EXPECT_TRUE(state.tasks.recording);
  EXPECT_NE(state.tasks.running[0].name.find("wait_for_gate"), std::string::npos);
  EXPECT_GE(state.tasks.running[0].seconds, 0);
  open_gate = true;
  rt.get(held);
  // The task's own end is noted before its result is told.
  state = rt.state();
  ASSERT_EQ(state.tasks.functions.size(), 1U);
  EXPECT_EQ(state.tasks.functions[0].num_ended, 2U);
  EXPECT_EQ(state.tasks.functions[0].num_failed, 1U);
  rt.record(false);
  rt.get(rt.remote<wait_for_gate>(1));
  EXPECT_EQ(rt.state().tasks.functions[0].num_ended, 2U);
}

TEST(State, ListsActorsUntilTheyAreGone) {
  Runtime rt(RuntimeOptions{.num_cpus = 1});
  {
    auto idle = rt.with(ActorOptions{.name = "sleeper"}).actor<Idle>();
    auto other = rt.actor<Idle>();
    rt.get(idle.call<&Idle::get>());
    const RuntimeState state = rt.state();
    ASSERT_EQ(state.actors.size(), 2U);
    rt.kill(idle);
    int num_dead = 0;
    for (const ActorState& actor : rt.state().actors) num_dead += actor.alive ? 0 : 1;
    EXPECT_EQ(num_dead, 1);
  }
  while (!rt.state().actors.empty()) std::this_thread::yield();
}

TEST(State, WritesLabelsThatPrometheusCanRead) {
  RuntimeState state;
  state.tasks.functions.push_back({.name = "say(\"hi\\n\")\n", .num_ended = 3, .num_failed = 1, .seconds = 0.5});
  const std::string text = to_prometheus(state);
  EXPECT_NE(text.find("mobula_tasks_ended_total{function=\"say(\\\"hi\\\\n\\\")\\n\",outcome=\"succeeded\"} 2\n"),
            std::string::npos)
      << text;
}

TEST(StateServer, AnswersProgramsOfTheSameUser) {
  Runtime rt(RuntimeOptions{.num_cpus = 1});
  for (;;) {
    try {
      const Json state = parse_json(ask_program(getpid(), "state"), "state");
      EXPECT_EQ(state.at("pid"), getpid());
      EXPECT_EQ(state.at("engine"), "local");
      break;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::unavailable);  // its thread has not got so far
      std::this_thread::yield();
    }
  }
  const auto programs = find_programs();
  EXPECT_NE(std::find(programs.begin(), programs.end(), getpid()), programs.end());
  EXPECT_NE(ask_program(getpid(), "metrics").find("mobula_uptime_seconds"), std::string::npos);
  EXPECT_NE(ask_program(getpid(), "nonsense").find("error"), std::string::npos);
}

TEST(StateServer, IsNotThereWhereTheProgramSaysSo) {
  Runtime rt(RuntimeOptions{.num_cpus = 1, .inspectable = false});
  EXPECT_THROW(ask_program(getpid(), "state"), Error);
}

}  // namespace
}  // namespace mobula
