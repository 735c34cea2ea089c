// What every engine promises. The same program text runs in threads and in worker processes.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "every_engine.hpp"
#include "mobula/core.hpp"

using namespace std::chrono_literals;

// Remote functions of one program need names of their own: this namespace is the file's.
namespace contract {

struct Point {
  double x = 0, y = 0;
  std::string name;
  bool operator==(const Point&) const = default;
};
struct Everything {
  int number = 0;
  std::optional<std::string> maybe;
  std::variant<int, std::string> either;
  std::vector<Point> points;
  std::map<std::string, std::vector<int>> table;
  std::pair<float, bool> pair;
  bool operator==(const Everything&) const = default;
};

int square(int x) {
  return x * x;
}
int add(int a, int b) {
  return a + b;
}
Everything same(Everything value) {
  return value;
}
Point moved(const Point& point, double by) {
  return {point.x + by, point.y, point.name};
}
void nothing() {}
int fail(int x) {
  throw std::out_of_range("x is " + std::to_string(x));
}
int refuse() {
  throw mobula::Error(mobula::ErrorCode::corrupt, "row 7", "repair it");
}
double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}
double sum_view(mobula::View<std::vector<double>> values) {
  return std::accumulate(values->begin(), values->end(), 0.0);
}
std::vector<double> range(std::size_t n) {
  std::vector<double> values(n);
  std::iota(values.begin(), values.end(), 0.0);
  return values;
}
int nested(int depth) {
  if (depth == 0) return 1;
  mobula::Runtime& rt = mobula::Runtime::current();
  auto a = rt.remote<nested>(depth - 1);
  auto b = rt.remote<nested>(depth - 1);
  return rt.get(a) + rt.get(b);
}
bool wait_for_cancel() {
  while (!mobula::Runtime::cancelled()) usleep(100);
  return true;
}
int process_id() {
  return getpid();
}
std::string variable() {
  const char* value = std::getenv("MOBULA_CONTRACT");
  return value == nullptr ? "unset" : value;
}
int die(int how) {
  std::fprintf(stderr, "last words\n");
  if (how == 0) std::exit(3);
  if (how == 1) std::abort();
  if (how == 2) raise(SIGSEGV);
  raise(SIGKILL);
  return 0;
}
// Ends its process the first time it runs in a program, told by a file.
int die_once(std::string marker) {
  if (std::FILE* file = std::fopen(marker.c_str(), "wx")) {
    std::fclose(file);
    raise(SIGKILL);
  }
  return 42;
}

struct Account {
  int balance = 0;
  explicit Account(int start) : balance(start) {}
  int deposit(int amount) { return balance += amount; }
  int get() const { return balance; }
  int overdraw() { throw std::runtime_error("not enough"); }
  int die(int how) { return contract::die(how); }
};
struct Broken {
  Broken() { throw std::runtime_error("can't be made"); }
  int get() { return 1; }
};

class Engine : public EveryEngine {};
class Processes : public EveryEngine {};

TEST_P(Engine, RunsFunctionsAndChainsThemThroughRefs) {
  auto a = rt.remote<square>(3);
  auto b = rt.remote<add>(a, 1);
  EXPECT_EQ(rt.get(rt.remote<add>(a, b)), 19);
  rt.get(rt.remote<nothing>());
  EXPECT_EQ(rt.get(rt.remote<[](std::string text) { return text + "!"; }>("hi")), "hi!");
}

TEST_P(Engine, CarriesEveryKindOfValue) {
  const Everything value{7, "text", std::string("either"), {{1, 2, "p"}, {3, 4, "q"}}, {{"k", {1, 2}}}, {1.5F, true}};
  EXPECT_EQ(rt.get(rt.remote<same>(value)), value);
  auto put = rt.put(Point{1, 2, "p"});
  EXPECT_EQ(rt.get(rt.remote<moved>(put, 2.0)), (Point{3, 2, "p"}));
}

TEST_P(Engine, CarriesLargeValuesBothWays) {
  auto values = rt.remote<range>(std::size_t{300'000});
  const double expected = 299'999.0 * 300'000.0 / 2;
  EXPECT_EQ(rt.get(rt.remote<sum>(values)), expected);
  EXPECT_EQ(rt.get(rt.remote<sum_view>(values)), expected);
  EXPECT_EQ(rt.view(values)->size(), 300'000U);
  EXPECT_EQ(rt.get(rt.remote<sum_view>(rt.put(rt.get(values)))), expected);
}

TEST_P(Engine, FinishesManyTasks) {
  std::vector<mobula::Ref<int>> refs;
  for (int i = 0; i < 5000; ++i) refs.push_back(rt.remote<square>(i));
  const auto values = rt.get(refs);
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(values[static_cast<std::size_t>(i)], i * i);
}

TEST_P(Engine, TellsATasksExceptionByItsType) {
  try {
    rt.get(rt.remote<add>(rt.remote<fail>(7), 1));
    FAIL();
  } catch (const mobula::TaskError& error) {
    EXPECT_EQ(error.type(), "std::out_of_range");
    EXPECT_EQ(error.message(), "x is 7");
    ASSERT_GE(error.trace().size(), 2U);
    EXPECT_NE(error.trace()[0].find("contract::fail"), std::string::npos) << error.trace()[0];
  }
  try {
    rt.get(rt.remote<refuse>());
    FAIL();
  } catch (const mobula::Error& error) {
    EXPECT_EQ(error.code(), mobula::ErrorCode::corrupt);
    EXPECT_EQ(error.hint(), "repair it");
  }
}

TEST_P(Engine, RunsNestedTasks) {
  EXPECT_EQ(rt.get(rt.remote<nested>(5)), 32);
}

TEST_P(Engine, CancelsRunningTasksThatLook) {
  if (!cancels()) GTEST_SKIP() << "docs/engines.md: this engine refuses to cancel";
  rt.get(rt.remote<square>(1));  // a worker is up
  auto running = rt.remote<wait_for_cancel>();
  EXPECT_THROW(rt.get(running, 20ms), mobula::TimeoutError);
  EXPECT_TRUE(rt.cancel(running));
  EXPECT_TRUE(rt.get(running));
}

TEST_P(Engine, CancelsWhatIsQueued) {
  if (!cancels()) GTEST_SKIP() << "docs/engines.md: this engine refuses to cancel";
  std::vector<mobula::Ref<bool>> blockers{rt.remote<wait_for_cancel>(), rt.remote<wait_for_cancel>()};
  EXPECT_THROW(rt.get(blockers[0], 20ms), mobula::TimeoutError);
  auto queued = rt.remote<square>(2);
  EXPECT_TRUE(rt.cancel(queued));
  EXPECT_THROW(rt.get(queued), mobula::CancelledError);
  for (auto& blocker : blockers) rt.cancel(blocker);
  // One that no worker had taken yet is cancelled before it runs; either way both end.
  EXPECT_EQ(rt.wait(blockers, {.num_ready = 2}).ready.size(), 2U);
}

TEST_P(Engine, WaitsForTheFirstOfSeveral) {
  if (!cancels()) GTEST_SKIP() << "docs/engines.md: this engine refuses to cancel";
  std::vector<mobula::Ref<bool>> refs{rt.remote<wait_for_cancel>(), rt.remote<[] { return true; }>()};
  auto [ready, pending] = rt.wait(refs, {.num_ready = 1});
  ASSERT_EQ(ready.size(), 1U);
  EXPECT_EQ(ready[0], refs[1]);
  rt.cancel(pending[0]);
  rt.get(pending[0]);
}

TEST_P(Engine, KeepsActorsCallsInOrder) {
  auto account = rt.actor<Account>(5);
  std::vector<mobula::Ref<int>> refs;
  for (int i = 0; i < 1000; ++i) refs.push_back(account.call<&Account::deposit>(1));
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(rt.get(refs[static_cast<std::size_t>(i)]), 6 + i);
  EXPECT_EQ(rt.get(account.call<&Account::deposit>(rt.remote<square>(10))), 1105);
  EXPECT_THROW(rt.get(account.call<&Account::overdraw>()), mobula::TaskError);
  EXPECT_EQ(rt.get(account.call<&Account::get>()), 1105);
}

TEST_P(Engine, FailsCallsOfAnActorThatCanNotBeMadeOrIsKilled) {
  auto broken = rt.actor<Broken>();
  EXPECT_THROW(rt.get(broken.call<&Broken::get>()), mobula::TaskError);
  auto account = rt.with(mobula::ActorOptions{.name = "account"}).actor<Account>(1);
  EXPECT_EQ(rt.get(rt.find_actor<Account>("account").call<&Account::get>()), 1);
  rt.kill(account);
  EXPECT_THROW(rt.get(account.call<&Account::get>()), mobula::WorkerDiedError);
}

TEST_P(Engine, SharesResourcesOutWithoutOvercommittingThem) {
  std::vector<mobula::Ref<int>> refs;
  for (int i = 0; i < 20; ++i) {
    refs.push_back(rt.with(mobula::TaskOptions{.cpus = i % 2 == 0 ? 2.0 : 0.5}).remote<square>(i));
    refs.push_back(rt.remote<square>(i));
  }
  EXPECT_EQ(rt.get(refs).back(), 361);
  EXPECT_THROW(rt.with(mobula::TaskOptions{.gpus = 1}).remote<square>(1), mobula::ResourceError);
}

INSTANTIATE_TEST_SUITE_P(Contract, Engine, testing::ValuesIn(every_engine()), engine_name);

TEST_P(Processes, RunTasksElsewhere) {
  EXPECT_NE(rt.get(rt.remote<process_id>()), getpid());
  if (!on_ray()) {
    EXPECT_EQ(rt.get(rt.with(mobula::TaskOptions{.isolation = mobula::Isolation::thread}).remote<process_id>()),
              getpid());
  }
  EXPECT_EQ(rt.get(rt.with(mobula::TaskOptions{.environment = {{"MOBULA_CONTRACT", "v"}}}).remote<variable>()), "v");
  EXPECT_EQ(rt.get(rt.remote<variable>()), "unset");
}

TEST_P(Processes, TellDeathsApart) {
  struct Case {
    int how, signal, exit_code;
  };
  for (const Case& c : {Case{0, 0, 3}, Case{1, SIGABRT, 0}, Case{2, SIGSEGV, 0}, Case{3, SIGKILL, 0}}) {
    try {
      rt.get(rt.with(mobula::TaskOptions{.retries = 0}).remote<die>(c.how));
      FAIL() << c.how;
    } catch (const mobula::WorkerDiedError& error) {
      // Ray tells of a worker's death, but not how it died.
      if (!on_ray()) {
        EXPECT_EQ(error.signal(), c.signal);
        EXPECT_EQ(error.exit_code(), c.exit_code);
        EXPECT_NE(error.last_stderr().find("last words"), std::string::npos);
      }
      EXPECT_NE(error.message().find("contract::die"), std::string::npos) << error.message();
      EXPECT_FALSE(error.hint().empty());
    }
  }
  EXPECT_EQ(rt.get(rt.remote<square>(4)), 16);
}

TEST_P(Processes, RunATaskAgainWhoseWorkerDied) {
  const std::string marker = testing::TempDir() + "mobula-contract-" + std::to_string(getpid());
  EXPECT_EQ(rt.get(rt.remote<die_once>(marker)), 42);
  std::remove(marker.c_str());
}

TEST_P(Processes, SurviveTheKillOfEveryWorker) {
  std::vector<mobula::Ref<int>> refs;
  for (int i = 0; i < 2000; ++i) {
    refs.push_back(rt.remote<square>(i));
    if (i == 1000) {
      for (pid_t pid : rt.engine()->worker_pids()) ::kill(pid, SIGKILL);
    }
  }
  const auto values = rt.get(refs);
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(values[static_cast<std::size_t>(i)], i * i);
}

TEST_P(Processes, StopARunningTaskByForce) {
  if (!cancels()) GTEST_SKIP() << "docs/engines.md: this engine refuses to cancel";
  auto running = rt.remote<[] {
    for (;;) usleep(1000);
    return 1;
  }>();
  EXPECT_THROW(rt.get(running, 20ms), mobula::TimeoutError);
  EXPECT_TRUE(rt.cancel(running, mobula::Cancel::forced));
  EXPECT_THROW(rt.get(running), mobula::CancelledError);
}

TEST_P(Processes, MakeAnActorAnewAsOftenAsItsOptionsSay) {
  auto account = rt.with(mobula::ActorOptions{.max_restarts = 1}).actor<Account>(10);
  EXPECT_EQ(rt.get(account.call<&Account::deposit>(5)), 15);
  EXPECT_THROW(rt.get(account.call<&Account::die>(3)), mobula::WorkerDiedError);
  EXPECT_EQ(rt.get(account.call<&Account::get>()), 10);
  EXPECT_THROW(rt.get(account.call<&Account::die>(0)), mobula::WorkerDiedError);
  EXPECT_THROW(rt.get(account.call<&Account::get>()), mobula::WorkerDiedError);
}

TEST_P(Processes, RefuseWhatCanNotLeaveTheProcess) {
  EXPECT_THROW(rt.get(rt.remote<[](mobula::Local<int> x) { return x.value; }>(mobula::Local<int>{1})), mobula::Error);
}

INSTANTIATE_TEST_SUITE_P(Contract, Processes, testing::ValuesIn(engines_with_processes()), engine_name);

TEST(Memory, RefusesObjectsOverItsBudget) {
  mobula::Runtime rt(mobula::RuntimeOptions{.isolation = mobula::Isolation::process, .num_cpus = 1, .memory = 4 << 20});
  EXPECT_THROW(rt.get(rt.remote<range>(std::size_t{1'000'000})), mobula::OutOfMemoryError);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(rt.get(rt.remote<range>(std::size_t{100'000})).size(), 100'000U);
}

}  // namespace contract

int main(int argc, char** argv) {
  mobula::serve_if_worker();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
