// Actors beyond plain calls: names, ends, on every engine.
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "every_engine.hpp"

using namespace std::chrono_literals;

namespace contract {

// Writes its count to a file when it is destroyed.
class Ledger {
 public:
  explicit Ledger(std::string path) : path_(std::move(path)) {}
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;
  ~Ledger() { std::ofstream(path_) << count_; }
  int add(int k) { return count_ += k; }

 private:
  std::string path_;
  int count_ = 0;
};

struct Tally {
  int n = 0;
  int add(int k) { return n += k; }
};

// Holds calls until enough of them have come at once, across threads of one process.
class Meeting {
 public:
  int meet(int how_many) {
    ++here_;
    while (here_ < how_many) usleep(100);
    return here_;
  }
  int most() const { return most_; }
  int pass() {
    const int now = ++inside_;
    int seen = most_;
    while (seen < now && !most_.compare_exchange_weak(seen, now)) {
    }
    usleep(500);
    --inside_;
    return now;
  }
  int order(int i) {
    last_ = last_ * 10 + i;
    return last_;
  }

 private:
  std::atomic<int> here_{0}, inside_{0}, most_{0};
  int last_ = 0;
};
struct Scorer {
  int offset;
  explicit Scorer(int by) : offset(by) {}
  int score(int x) { return x + offset; }
  int slow(int x) {
    usleep(2000);
    return x;
  }
  int die() { std::abort(); }
};

class Actors : public EveryEngine {};

TEST_P(Actors, StopAfterTheCallsMadeBefore) {
  const std::string path = testing::TempDir() + "mobula-ledger-" + std::to_string(getpid());
  auto ledger = rt.actor<Ledger>(path);
  std::vector<mobula::Ref<int>> calls;
  for (int i = 0; i < 200; ++i) calls.push_back(ledger.call<&Ledger::add>(1));
  rt.get(rt.stop(ledger));
  EXPECT_EQ(rt.get(calls).back(), 200);
  std::string written;
  std::ifstream(path) >> written;
  EXPECT_EQ(written, "200");
  EXPECT_THROW(rt.get(ledger.call<&Ledger::add>(1)), mobula::WorkerDiedError);
  std::remove(path.c_str());
}

TEST_P(Actors, AreMadeOnceUnderOneName) {
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&] {
      auto tally = rt.with(mobula::ActorOptions{.name = "tally", .detached = !on_ray()}).get_or_create<Tally>();
      rt.get(tally.call<&Tally::add>(1));
    });
  }
  for (std::thread& caller : callers) caller.join();
  auto tally = rt.find_actor<Tally>("tally");
  EXPECT_EQ(rt.get(tally.call<&Tally::add>(0)), 8);
  rt.kill(tally);
  EXPECT_THROW(rt.find_actor<Tally>("tally"), mobula::Error);
  auto next = rt.with(mobula::ActorOptions{.name = "tally"}).get_or_create<Tally>();
  EXPECT_EQ(rt.get(next.call<&Tally::add>(1)), 1);
  EXPECT_THROW(rt.with(mobula::ActorOptions{.detached = true}).actor<Tally>(), mobula::Error);
}

TEST_P(Actors, RunSoManyCallsAtOnceAsTheyAreToldTo) {
  if (on_ray()) GTEST_SKIP() << "docs/engines.md: refused on Ray";
  auto meeting = rt.with(mobula::ActorOptions{.concurrency = 3}).actor<Meeting>();
  std::vector<mobula::Ref<int>> calls;
  for (int i = 0; i < 3; ++i) calls.push_back(meeting.call<&Meeting::meet>(3));
  EXPECT_EQ(rt.get(calls), (std::vector<int>{3, 3, 3}));
  for (int i = 0; i < 30; ++i) calls.push_back(meeting.call<&Meeting::pass>());
  rt.get(calls);
  EXPECT_LE(rt.get(meeting.call<&Meeting::most>()), 3);
  rt.get(rt.stop(meeting));
  EXPECT_THROW(rt.get(meeting.call<&Meeting::most>()), mobula::WorkerDiedError);
}

TEST_P(Actors, StartCallsThatComeTogetherTogether) {
  if (on_ray()) GTEST_SKIP() << "docs/engines.md: refused on Ray";
  auto meeting = rt.with(mobula::ActorOptions{.concurrency = 3}).actor<Meeting>();
  for (int round = 1; round <= 400; ++round) {
    // About as long as a worker looks for calls before it sleeps.
    std::this_thread::sleep_for(std::chrono::microseconds(round % 40 * 5));
    std::vector<mobula::Ref<int>> calls;
    for (int i = 0; i < 3; ++i) calls.push_back(meeting.call<&Meeting::meet>(3 * round));
    for (const auto& call : calls) ASSERT_EQ(rt.get(call, 30s), 3 * round);
  }
}

TEST_P(Actors, RunNoCallThatIsMadeWhenTheLastHasEnded) {
  if (on_ray()) GTEST_SKIP() << "docs/engines.md: refused on Ray";
  const int rounds = GetParam().name == "threads" ? 300 : 3;
  for (int round = 0; round < rounds; ++round) {
    auto meeting = rt.with(mobula::ActorOptions{.concurrency = 3}).actor<Meeting>();
    rt.get(rt.stop(meeting));
    ASSERT_THROW(rt.get(meeting.call<&Meeting::most>()), mobula::WorkerDiedError);
  }
}

TEST_P(Actors, KeepGroupsOfCallsApart) {
  if (on_ray()) GTEST_SKIP() << "docs/engines.md: refused on Ray";
  auto meeting = rt.with(mobula::ActorOptions{.groups = {{"io", 2}}}).actor<Meeting>();
  // Two calls of the group and one of the default meet; within the default, calls keep their order.
  std::vector<mobula::Ref<int>> met{meeting.in("io").call<&Meeting::meet>(3), meeting.in("io").call<&Meeting::meet>(3),
                                    meeting.call<&Meeting::meet>(3)};
  EXPECT_EQ(rt.get(met), (std::vector<int>{3, 3, 3}));
  mobula::Ref<int> last;
  for (int i = 1; i <= 6; ++i) last = meeting.call<&Meeting::order>(i);
  EXPECT_EQ(rt.get(last), 123456);
  EXPECT_THROW(meeting.in("disk"), mobula::Error);
  EXPECT_THROW(rt.with(mobula::ActorOptions{.concurrency = 0}).actor<Meeting>(), mobula::Error);
}

TEST_P(Actors, ShareCallsInAPool) {
  mobula::ActorPool<Scorer> pool(rt, {.min_size = 1, .max_size = 3, .idle = 10ms}, 100);
  EXPECT_EQ(rt.get(pool.submit<&Scorer::score>(1)), 101);
  EXPECT_EQ(pool.size(), 1U);
  std::vector<int> inputs(40);
  std::iota(inputs.begin(), inputs.end(), 0);
  const auto scores = rt.get(pool.map<&Scorer::score>(inputs));
  for (int i = 0; i < 40; ++i) ASSERT_EQ(scores[static_cast<std::size_t>(i)], 100 + i);
  int sum = 0;
  for (const auto& result : pool.map_unordered<&Scorer::slow>(inputs)) sum += rt.get(result);
  EXPECT_EQ(sum, 39 * 40 / 2);
  EXPECT_EQ(rt.get(pool.submit<&Scorer::score>(rt.put(5))), 105);
  while (pool.size() > 1) usleep(1000);
}

INSTANTIATE_TEST_SUITE_P(Contract, Actors, testing::ValuesIn(every_engine()), engine_name);

class ActorsOfProcesses : public EveryEngine {};

TEST_P(ActorsOfProcesses, AreReplacedInAPoolWhenTheyDie) {
  mobula::ActorPool<Scorer> pool(rt, {.min_size = 1, .max_size = 1}, 7);
  EXPECT_EQ(rt.get(pool.submit<&Scorer::score>(1)), 8);
  EXPECT_THROW(rt.get(pool.submit<&Scorer::die>()), mobula::WorkerDiedError);
  int score = 0;
  while (score == 0) {
    try {
      score = rt.get(pool.submit<&Scorer::score>(1));
    } catch (const mobula::WorkerDiedError&) {
      // The pool has not been told yet.
    }
  }
  EXPECT_EQ(score, 8);
}

TEST_P(ActorsOfProcesses, AreMadeAnewWithTheirConcurrency) {
  if (on_ray()) GTEST_SKIP() << "docs/engines.md: refused on Ray";
  auto meeting = rt.with(mobula::ActorOptions{.max_restarts = 1, .groups = {{"io", 2}}}).actor<Meeting>();
  EXPECT_EQ(rt.get(meeting.call<&Meeting::meet>(1)), 1);
  for (pid_t pid : rt.engine()->worker_pids()) ::kill(pid, SIGKILL);
  std::vector<mobula::Ref<int>> met;
  while (met.empty()) {
    met = {meeting.in("io").call<&Meeting::meet>(2), meeting.in("io").call<&Meeting::meet>(2)};
    for (auto& ref : met) {
      try {
        rt.get(ref);
      } catch (const mobula::WorkerDiedError&) {
        met.clear();
        break;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Contract, ActorsOfProcesses, testing::ValuesIn(engines_with_processes()), engine_name);

}  // namespace contract
