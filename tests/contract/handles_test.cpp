// Refs and actors inside values: every process that holds one can use it, and keeps what it stands for.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "every_engine.hpp"
#include "mobula/core.hpp"

using namespace std::chrono_literals;

namespace contract_handles {

using mobula::Actor;
using mobula::Ref;
using mobula::Runtime;

int square(int x) {
  return x * x;
}
int slow_square(int x) {
  usleep(30'000);
  return x * x;
}
int late_square(int x) {
  usleep(1'500'000);
  return x * x;
}
std::vector<double> range(std::size_t n) {
  std::vector<double> values(n);
  std::iota(values.begin(), values.end(), 0.0);
  return values;
}
double sum_of(Ref<std::vector<double>> values) {
  const auto view = Runtime::current().view(values);
  return std::accumulate(view->begin(), view->end(), 0.0);
}
struct Bundle {
  std::string name;
  std::map<std::string, Ref<int>> refs;
  std::optional<Ref<int>> maybe;
};
int sum_bundle(Bundle bundle) {
  Runtime& rt = Runtime::current();
  int sum = bundle.maybe ? rt.get(*bundle.maybe) : 0;
  for (const auto& [name, ref] : bundle.refs) sum += rt.get(ref);
  return sum;
}
Ref<int> later(int x) {
  return Runtime::current().remote<square>(x);
}
std::vector<Ref<int>> many_later(int n) {
  std::vector<Ref<int>> refs;
  for (int i = 0; i < n; ++i) refs.push_back(Runtime::current().remote<square>(i));
  return refs;
}
Ref<std::vector<double>> put_range(std::size_t n) {
  return Runtime::current().put(range(n));
}
Ref<std::string> put_text(std::string text) {
  return Runtime::current().put(std::move(text));
}
int wait_for(Ref<int> ref) {
  return Runtime::current().get(ref);
}
int same(int x) {
  return x;
}
int chain(int depth, Ref<int> last) {
  Runtime& rt = Runtime::current();
  return depth == 0 ? rt.get(last) : rt.get(rt.remote<chain>(depth - 1, last)) + 1;
}
int fibonacci(int n) {
  if (n < 2) return n;
  Runtime& rt = Runtime::current();
  auto a = rt.remote<fibonacci>(n - 1);
  auto b = rt.remote<fibonacci>(n - 2);
  return rt.get(a) + rt.get(b);
}
int group_sum(int n) {
  Runtime& rt = Runtime::current();
  mobula::TaskGroup group(rt);
  for (int i = 0; i < n; ++i) group.run<square>(i);
  group.wait();
  return n;
}
int first_ready(std::vector<Ref<int>> refs) {
  Runtime& rt = Runtime::current();
  auto [ready, pending] = rt.wait(refs, {.num_ready = 1});
  return rt.get(ready.at(0)) + static_cast<int>(pending.size());
}
int nested_failure() {
  return Runtime::current().get(
      Runtime::current().remote<[](int x) -> int { throw std::out_of_range("x is " + std::to_string(x)); }>(7));
}

struct Account {
  int balance = 0;
  int deposit(int amount) { return balance += amount; }
  int get() const { return balance; }
};
int deposit_twice(Actor<Account> account, int amount) {
  Runtime& rt = Runtime::current();
  account.call<&Account::deposit>(amount);
  return rt.get(account.call<&Account::deposit>(amount));
}
Actor<Account> open_account(int amount) {
  auto account = Runtime::current().actor<Account>();
  account.call<&Account::deposit>(amount);
  return account;
}
int named_balance(std::string name) {
  Runtime& rt = Runtime::current();
  return rt.get(rt.find_actor<Account>(name).call<&Account::get>());
}
struct Keeper {
  Ref<std::vector<double>> kept;
  std::optional<mobula::View<std::vector<double>>> seen;
  Actor<Account> account;
  void keep(Ref<std::vector<double>> ref) { kept = std::move(ref); }
  void look(mobula::View<std::vector<double>> view) { seen = std::move(view); }
  void use(Actor<Account> actor) { account = std::move(actor); }
  double sum() { return sum_of(kept); }
  double sum_seen() { return std::accumulate((*seen)->begin(), (*seen)->end(), 0.0); }
  int deposit(int amount) { return Runtime::current().get(account.call<&Account::deposit>(amount)); }
  void drop() {
    kept = {};
    seen.reset();
    account = {};
  }
};
// Puts an object that only it knows, and dies with it.
int put_and_die(std::size_t n) {
  const auto ref = Runtime::current().put(range(n));
  if (ref) raise(SIGKILL);
  return 0;
}

class Handles : public contract::EveryEngine {};

TEST_P(Handles, TravelInsideArguments) {
  const Bundle bundle{"b", {{"x", rt.remote<square>(2)}, {"y", rt.put(5)}}, rt.remote<slow_square>(3)};
  EXPECT_EQ(rt.get(rt.remote<sum_bundle>(bundle)), 4 + 5 + 9);
  EXPECT_EQ(rt.get(rt.remote<sum_of>(rt.remote<range>(std::size_t{50'000}))), 49'999.0 * 50'000.0 / 2);
  EXPECT_EQ(rt.get(rt.remote<sum_of>(rt.put(range(1000)))), 999.0 * 1000.0 / 2);
}

TEST_P(Handles, TravelInsideResults) {
  EXPECT_EQ(rt.get(rt.get(rt.remote<later>(6))), 36);
  const auto refs = rt.get(rt.remote<many_later>(50));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(rt.get(refs[static_cast<std::size_t>(i)]), i * i);
  EXPECT_EQ(rt.get(rt.get(rt.remote<put_range>(std::size_t{100'000}))).back(), 99'999.0);
  EXPECT_EQ(rt.get(rt.get(rt.remote<put_text>("small"))), "small");
  // What a task has put is an argument like any other.
  EXPECT_EQ(rt.get(rt.remote<sum_of>(rt.get(rt.remote<put_range>(std::size_t{1000})))), 999.0 * 1000.0 / 2);
}

TEST_P(Handles, StandForObjectsAsLongAsAnybodyHoldsThem) {
  auto keeper = rt.actor<Keeper>();
  rt.get(keeper.call<&Keeper::keep>(rt.put(range(100'000), {.shared = true})));
  rt.get(keeper.call<&Keeper::look>(rt.put(range(50'000), {.shared = true})));
  // Others come and go meanwhile, where those would lie if they were gone.
  for (int i = 0; i < 20; ++i) rt.get(rt.remote<sum_of>(rt.put(std::vector<double>(50'000 + i % 2 * 50'000, 1.0))));
  EXPECT_EQ(rt.get(keeper.call<&Keeper::sum>()), 99'999.0 * 100'000.0 / 2);
  EXPECT_EQ(rt.get(keeper.call<&Keeper::sum_seen>()), 49'999.0 * 50'000.0 / 2);
  rt.get(keeper.call<&Keeper::drop>());
}

TEST_P(Handles, WaitWithoutKeepingAProcessorBusy) {
  // More tasks wait than there are processors, for one that comes last.
  std::vector<Ref<int>> waiting;
  auto first = rt.remote<slow_square>(2);
  for (int i = 0; i < 6; ++i) waiting.push_back(rt.remote<wait_for>(rt.remote<slow_square>(i)));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(rt.get(waiting[static_cast<std::size_t>(i)]), i * i);
  EXPECT_EQ(rt.get(rt.remote<chain>(8, first)), 12);
}

TEST_P(Handles, RunDeepRecursionOfTasks) {
  // A task on Ray takes milliseconds.
  EXPECT_EQ(rt.get(rt.remote<fibonacci>(on_ray() ? 7 : 11)), on_ray() ? 13 : 89);
}

TEST_P(Handles, ServeGroupsAndWaitsInsideTasks) {
  EXPECT_EQ(rt.get(rt.remote<group_sum>(200)), 200);
  const std::vector<Ref<int>> refs{rt.put(1), rt.remote<late_square>(3)};
  EXPECT_EQ(rt.get(rt.remote<first_ready>(refs)), 2);
}

TEST_P(Handles, TellOfNestedFailuresWhereTheyCameFrom) {
  try {
    rt.get(rt.remote<nested_failure>());
    FAIL();
  } catch (const mobula::TaskError& error) {
    EXPECT_EQ(error.type(), "std::out_of_range");
    EXPECT_EQ(error.message(), "x is 7");
    std::string trace;
    for (const std::string& line : error.trace()) trace += line + "\n";
    EXPECT_NE(trace.find("called by contract_handles::nested_failure"), std::string::npos) << trace;
    EXPECT_NE(trace.find("called by the program"), std::string::npos) << trace;
  }
}

TEST_P(Handles, LetActorsBeCalledFromEverywhere) {
  auto account = rt.actor<Account>();
  EXPECT_EQ(rt.get(rt.remote<deposit_twice>(account, 5)), 10);
  EXPECT_EQ(rt.get(account.call<&Account::get>()), 10);
  auto opened = rt.get(rt.remote<open_account>(7));
  EXPECT_EQ(rt.get(rt.remote<deposit_twice>(opened, 1)), 9);
  auto keeper = rt.actor<Keeper>();
  rt.get(keeper.call<&Keeper::use>(opened));
  opened = {};
  EXPECT_EQ(rt.get(keeper.call<&Keeper::deposit>(1)), 10);
  auto named = rt.with(mobula::ActorOptions{.name = "named"}).actor<Account>();
  rt.get(named.call<&Account::deposit>(3));
  EXPECT_EQ(rt.get(rt.remote<named_balance>("named")), 3);
  EXPECT_THROW(rt.get(rt.remote<named_balance>("nobody")), mobula::Error);
}

INSTANTIATE_TEST_SUITE_P(Contract, Handles, testing::ValuesIn(contract::every_engine()), contract::engine_name);

TEST(HandlesOfProcesses, GiveBackWhatADeadWorkerHeld) {
  mobula::Runtime rt(mobula::RuntimeOptions{.isolation = mobula::Isolation::process, .num_cpus = 1, .memory = 8 << 20});
  for (int i = 0; i < 12; ++i) {
    EXPECT_THROW(rt.get(rt.with(mobula::TaskOptions{.retries = 0}).remote<put_and_die>(std::size_t{200'000})),
                 mobula::WorkerDiedError);
  }
  EXPECT_EQ(rt.get(rt.get(rt.remote<put_range>(std::size_t{500'000}))).size(), 500'000U);
}

TEST(HandlesOfProcesses, AreRefusedAsBytesThatNobodyCounts) {
  mobula::Runtime rt(mobula::RuntimeOptions{.num_cpus = 1});
  EXPECT_THROW(mobula::to_bytes(rt.put(1)), mobula::Error);
}

}  // namespace contract_handles
