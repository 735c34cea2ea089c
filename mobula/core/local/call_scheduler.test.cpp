#include "mobula/core/local/call_scheduler.hpp"

#include <gtest/gtest.h>

#include <string>

namespace mobula {
namespace {

using Kind = Decision::Kind;

/// Carries nothing out, but remembers what was decided.
struct Scripted {
  CallScheduler scheduler;
  Decisions todo;
  CallScheduler::Time now{0};

  /// Returns what was decided since the last time, as "place 0", "fail 3 cancelled", "start 1" ...
  std::vector<std::string> decided() {
    std::vector<std::string> words;
    for (const Decision& decision : todo) {
      switch (decision.kind) {
        case Kind::place:
          words.push_back("place " + std::to_string(decision.call));
          break;
        case Kind::withdraw:
          words.push_back("withdraw " + std::to_string(decision.call));
          break;
        case Kind::interrupt:
          words.push_back("interrupt " + std::to_string(decision.call));
          break;
        case Kind::fail:
          words.push_back("fail " + std::to_string(decision.call) + " " + to_string(decision.reason));
          break;
        case Kind::remake:
          words.push_back("remake " + std::to_string(decision.call));
          break;
        case Kind::clear_lane:
          words.push_back("clear");
          break;
        case Kind::actor_died:
          words.push_back("actor died");
          break;
        case Kind::start_worker:
          words.push_back("start " + std::to_string(decision.worker));
          break;
        case Kind::end_worker:
          words.push_back("end " + std::to_string(decision.worker));
          break;
        case Kind::free_lane:
          words.push_back("free");
          break;
      }
    }
    todo.clear();
    return words;
  }
  using Words = std::vector<std::string>;

  LaneId tasks(std::uint32_t slots, std::uint32_t workers) {
    const LaneId lane = scheduler.open_lane({.num_slots = slots, .num_workers = workers}, todo);
    todo.clear();
    return lane;
  }
  /// Opens an actor's lane and constructs its object as worker 1's call 0.
  LaneId actor(int max_restarts, std::uint32_t slots = 4) {
    const LaneId lane = scheduler.open_lane({.num_slots = slots, .actor = true, .max_restarts = max_restarts}, todo);
    scheduler.submit(lane, {.constructor = true}, todo);
    const Placement placed = place_of(0);
    EXPECT_EQ(scheduler.ended(lane, placed.slot, placed.turn, false), 0U);
    todo.clear();
    return lane;
  }
  CallId submit(LaneId lane, int retries = 0) { return scheduler.submit(lane, {.retries = retries}, todo); }
  /// Returns where the newest decision about it placed a call.
  Placement place_of(CallId call) {
    Placement found;
    for (const Decision& decision : todo) {
      if (decision.kind == Kind::place && decision.call == call) found = {decision.slot, decision.turn};
    }
    return found;
  }
};
using Words = Scripted::Words;

TEST(CallScheduler, HandsCallsOutInOrderAsSlotsAreFree) {
  Scripted s;
  const LaneId lane = s.tasks(2, 1);
  for (int i = 0; i < 4; ++i) s.submit(lane);
  const Placement first = s.place_of(0);
  EXPECT_EQ(s.decided(), (Words{"place 0", "place 1"}));
  EXPECT_EQ(s.scheduler.ended(lane, first.slot, first.turn, false), 0U);
  s.scheduler.refill(lane, s.todo);
  EXPECT_EQ(s.decided(), Words{"place 2"});
  EXPECT_EQ(s.scheduler.num_waiting(lane), 1U);
}

TEST(CallScheduler, IgnoresReportsAboutAnEarlierUseOfASlot) {
  Scripted s;
  const LaneId lane = s.tasks(1, 1);
  s.submit(lane);
  const Placement first = s.place_of(0);
  s.submit(lane);
  EXPECT_EQ(s.scheduler.ended(lane, first.slot, first.turn, false), 0U);
  s.scheduler.refill(lane, s.todo);
  EXPECT_EQ(s.scheduler.ended(lane, first.slot, first.turn, false), kNoCall);
  EXPECT_EQ(s.scheduler.num_calls(), 1U);
}

TEST(CallScheduler, MakesACallAgainBeforeOthersWhenItsWorkerDied) {
  Scripted s;
  const LaneId lane = s.tasks(1, 1);
  s.submit(lane, 1);
  s.submit(lane);
  Placement placed = s.place_of(0);
  s.decided();
  s.scheduler.worker_ended(1, std::vector{placed}, s.now, s.todo);
  placed = s.place_of(0);
  EXPECT_EQ(s.decided(), (Words{"start 2", "place 0"}));
  s.scheduler.worker_ended(2, std::vector{placed}, s.now, s.todo);
  EXPECT_EQ(s.decided(), (Words{"fail 0 worker_died", "start 3", "place 1"}));
}

TEST(CallScheduler, CancelsWhatWaitsAtOnceAndAsksForWhatIsHandedOut) {
  Scripted s;
  const LaneId lane = s.tasks(1, 1);
  s.submit(lane);
  s.submit(lane);
  const Placement placed = s.place_of(0);
  s.decided();
  s.scheduler.cancel(1, false, s.todo);
  EXPECT_EQ(s.decided(), Words{"fail 1 cancelled"});
  s.submit(lane);
  s.scheduler.cancel(0, false, s.todo);
  EXPECT_EQ(s.decided(), Words{"withdraw 0"});
  s.scheduler.withdrawn(lane, placed.slot, placed.turn, s.todo);
  EXPECT_EQ(s.decided(), (Words{"fail 0 cancelled", "place 2"}));
  EXPECT_EQ(s.scheduler.num_calls(), 1U);
}

TEST(CallScheduler, KillsTheWorkerOfAForcedCancellationAndDoesNotRetry) {
  Scripted s;
  const LaneId lane = s.tasks(1, 1);
  s.submit(lane, 3);
  const Placement placed = s.place_of(0);
  s.decided();
  s.scheduler.cancel(0, true, s.todo);
  s.scheduler.not_withdrawn(lane, placed.slot, placed.turn, 1, s.todo);
  EXPECT_EQ(s.decided(), (Words{"withdraw 0", "interrupt 0", "end 1"}));
  s.scheduler.worker_ended(1, std::vector{placed}, s.now, s.todo);
  EXPECT_EQ(s.decided(), (Words{"fail 0 interrupted", "start 2"}));
}

TEST(CallScheduler, MakesAnActorAnewBeforeTheCallsThatWait) {
  Scripted s;
  const LaneId lane = s.actor(1);
  const CallId running = s.submit(lane);
  const CallId waiting = s.submit(lane);
  const Placement placed = s.place_of(running);
  s.decided();
  s.scheduler.worker_ended(1, std::vector{placed}, s.now, s.todo);
  const CallId constructor = 0 + running;  // its number is free again, and the newest
  EXPECT_EQ(s.decided(),
            (Words{"fail " + std::to_string(running) + " worker_died", "remake " + std::to_string(constructor), "clear",
                   "place " + std::to_string(constructor), "start 2"}));
  s.scheduler.worker_ended(2, {}, s.now, s.todo);
  EXPECT_EQ(s.decided(), (Words{"actor died", "clear", "fail " + std::to_string(constructor) + " actor_died",
                                "fail " + std::to_string(waiting) + " actor_died"}));
  const CallId late = s.submit(lane);
  EXPECT_EQ(s.decided(), Words{"fail " + std::to_string(late) + " actor_died"});
}

TEST(CallScheduler, RunsAConstructorAgainThatDiedAndOnlyOnce) {
  Scripted s;
  const LaneId lane = s.scheduler.open_lane({.num_slots = 4, .actor = true, .max_restarts = 1}, s.todo);
  s.scheduler.submit(lane, {.retries = 3, .constructor = true}, s.todo);
  s.submit(lane);
  const Placement placed = s.place_of(0);
  s.decided();
  s.scheduler.worker_ended(1, std::vector{placed}, s.now, s.todo);
  const Placement again = s.place_of(0);
  EXPECT_EQ(s.decided(), (Words{"clear", "place 0", "start 2"}));
  s.scheduler.ended(lane, again.slot, again.turn, false);
  s.scheduler.refill(lane, s.todo);
  EXPECT_EQ(s.decided(), Words{"place 1"});
}

TEST(CallScheduler, LetsNoCallRunWithoutItsObject) {
  Scripted s;
  const LaneId lane = s.scheduler.open_lane({.num_slots = 4, .actor = true, .max_restarts = 1}, s.todo);
  s.scheduler.submit(lane, {.constructor = true}, s.todo);
  s.submit(lane);
  const Placement placed = s.place_of(0);
  s.decided();
  EXPECT_EQ(s.scheduler.num_waiting(lane), 1U);
  EXPECT_EQ(s.scheduler.refused(lane, placed.slot, placed.turn, s.todo), 0U);
  EXPECT_EQ(s.decided(), (Words{"end 1", "actor died", "clear", "fail 1 actor_died"}));
  s.submit(lane);
  EXPECT_EQ(s.decided(), Words{"fail 1 actor_died"});
}

TEST(CallScheduler, DoesNotMakeAnActorAnewThatHasEnded) {
  Scripted s;
  const LaneId lane = s.actor(-1);
  const CallId end = s.scheduler.submit(lane, {.last = true}, s.todo);
  const Placement placed = s.place_of(end);
  s.scheduler.ended(lane, placed.slot, placed.turn, false);
  s.decided();
  s.scheduler.worker_ended(1, {}, s.now, s.todo);
  EXPECT_EQ(s.decided(), (Words{"actor died", "clear"}));
}

TEST(CallScheduler, PutsOffTheStartOfWorkersThatDieIdleAndGivesUpInTheEnd) {
  Scripted s;
  const LaneId lane = s.tasks(4, 1);
  s.scheduler.worker_ended(1, {}, s.now, s.todo);
  EXPECT_EQ(s.decided(), Words{"start 2"});
  s.submit(lane);
  EXPECT_EQ(s.decided(), Words{"place 0"});
  CallScheduler::Time waited{0};
  WorkerId worker = 2;
  for (int death = 2; death < CallScheduler::kMaxBarrenDeaths; ++death) {
    s.scheduler.worker_ended(worker, {}, s.now, s.todo);
    EXPECT_EQ(s.decided(), Words{});
    ASSERT_TRUE(s.scheduler.next_tick());
    EXPECT_GT(*s.scheduler.next_tick() - s.now, waited);
    waited = *s.scheduler.next_tick() - s.now;
    s.now = *s.scheduler.next_tick();
    s.scheduler.tick(s.now, s.todo);
    EXPECT_EQ(s.decided(), Words{"start " + std::to_string(++worker)});
  }
  s.scheduler.worker_ended(worker, {}, s.now, s.todo);
  EXPECT_EQ(s.decided(), (Words{"clear", "fail 0 no_worker"}));
  s.submit(lane);
  EXPECT_EQ(s.decided(), (Words{"start " + std::to_string(worker + 1), "place 0"}));
}

TEST(CallScheduler, StopsWhatHasNotBegunAndLetsTheRestFinish) {
  Scripted s;
  const LaneId lane = s.tasks(2, 2);
  for (int i = 0; i < 3; ++i) s.submit(lane);
  const Placement running = s.place_of(0), ready = s.place_of(1);
  s.decided();
  s.scheduler.stop(s.todo);
  EXPECT_EQ(s.decided(), (Words{"fail 2 stopped", "withdraw 0", "withdraw 1"}));
  s.scheduler.not_withdrawn(lane, running.slot, running.turn, 1, s.todo);
  s.scheduler.withdrawn(lane, ready.slot, ready.turn, s.todo);
  EXPECT_EQ(s.decided(), Words{"fail 1 stopped"});
  EXPECT_EQ(s.scheduler.num_placed(), 1U);
  s.scheduler.worker_ended(1, std::vector{running}, s.now, s.todo);
  EXPECT_EQ(s.decided(), Words{"fail 0 worker_died"});
  s.scheduler.end_workers(s.todo);
  EXPECT_EQ(s.decided(), Words{"end 2"});
}

TEST(CallScheduler, FreesALaneWhenItsWorkerIsGone) {
  Scripted s;
  const LaneId lane = s.actor(5);
  s.scheduler.close_lane(lane, s.todo);
  EXPECT_EQ(s.decided(), Words{"end 1"});
  s.scheduler.worker_ended(1, {}, s.now, s.todo);
  EXPECT_EQ(s.decided(), Words{"free"});
  EXPECT_EQ(s.scheduler.num_calls(), 0U);
  EXPECT_EQ(s.scheduler.open_lane({}, s.todo), lane);
}

}  // namespace
}  // namespace mobula
