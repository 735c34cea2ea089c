// Resources, placement groups, timeouts and retries, on every engine.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "every_engine.hpp"

using namespace std::chrono_literals;
using mobula::TaskOptions;

namespace contract {

int triple(int x) {
  return 3 * x;
}
// Counts its runs in a file, a character each, so that processes see them too.
int count_run(const std::string& path) {
  std::ofstream(path, std::ios::app) << 'x';
  std::ifstream file(path, std::ios::ate);
  return static_cast<int>(file.tellg());
}
struct Flaky : std::runtime_error {
  using std::runtime_error::runtime_error;
};
int flaky(std::string path, int good_run) {
  const int run = count_run(path);
  if (run < good_run) throw Flaky("run " + std::to_string(run));
  return run;
}
bool sleep_until_cancelled() {
  while (!mobula::Runtime::cancelled()) usleep(200);
  return true;
}
bool tell_and_sleep(std::string path) {
  count_run(path);
  return sleep_until_cancelled();
}
struct Holder {
  int get() const { return 7; }
};

class Resources : public EveryEngine {
 protected:
  std::string fresh_file(const std::string& name) {
    std::string path = testing::TempDir() + "mobula-" + name + "-" + GetParam().name + std::to_string(getpid());
    std::remove(path.c_str());
    return path;
  }
};

TEST_P(Resources, RunAgainAfterTheExceptionsNamed) {
  const std::string path = fresh_file("retry");
  const TaskOptions by_base{.retries = 5, .retry_on = mobula::exception_types<std::runtime_error>()};
  EXPECT_EQ(rt.get(rt.with(by_base).remote<flaky>(path, 3)), 3);
  std::remove(path.c_str());
  const TaskOptions others{.retries = 5, .retry_on = mobula::exception_types<std::bad_alloc, std::logic_error>()};
  EXPECT_THROW(rt.get(rt.with(others).remote<flaky>(path, 3)), mobula::TaskError);
  EXPECT_EQ(count_run(path), 2);
  std::remove(path.c_str());
  const TaskOptions few{.retries = 2, .retry_on = mobula::exception_types<Flaky>()};
  try {
    rt.get(rt.with(few).remote<flaky>(path, 10));
    FAIL();
  } catch (const mobula::TaskError& error) {
    EXPECT_EQ(error.message(), "run 3");
    EXPECT_EQ(error.types(), (std::vector<std::string>{"contract::Flaky", "std::runtime_error", "std::exception"}));
  }
  std::remove(path.c_str());
}

TEST_P(Resources, FailATaskWhoseTimeIsUp) {
  auto late = rt.with(TaskOptions{.timeout = 30ms}).remote<sleep_until_cancelled>();
  EXPECT_THROW(rt.get(late), mobula::TimeoutError);
  EXPECT_EQ(rt.get(rt.with(TaskOptions{.timeout = 1h}).remote<triple>(2)), 6);
  // One that never gets to run.
  const std::string path = fresh_file("blockers");
  std::vector<mobula::Ref<bool>> blockers;
  for (int i = 0; i < 2; ++i) blockers.push_back(rt.remote<tell_and_sleep>(path));
  while (std::ifstream(path, std::ios::ate).tellg() != 2) usleep(200);
  auto queued = rt.with(TaskOptions{.timeout = 30ms}).remote<triple>(2);
  EXPECT_THROW(rt.get(queued), mobula::TimeoutError);
  for (auto& blocker : blockers) rt.cancel(blocker);
  EXPECT_EQ(rt.wait(blockers, {.num_ready = 2}).ready.size(), 2U);
  EXPECT_EQ(rt.get(rt.remote<triple>(3)), 9);
  std::remove(path.c_str());
}

TEST_P(Resources, CountMemoryAndRefuseLabelsThatNoNodeHas) {
  const auto nodes = rt.nodes();
  ASSERT_FALSE(nodes.empty());
  EXPECT_TRUE(nodes[0].alive);
  EXPECT_FALSE(nodes[0].host.empty());
  EXPECT_EQ(rt.get(rt.with(TaskOptions{.memory = 1 << 20}).remote<triple>(1)), 3);
  EXPECT_THROW(rt.with(TaskOptions{.memory = std::uint64_t{1} << 50}).remote<triple>(1), mobula::ResourceError);
  EXPECT_EQ(rt.get(rt.with(TaskOptions{.labels = {{"host", nodes[0].labels.at("host")}}}).remote<triple>(2)), 6);
  try {
    rt.with(TaskOptions{.labels = {{"disk", "ssd"}}}).remote<triple>(1);
    FAIL();
  } catch (const mobula::ResourceError& error) {
    EXPECT_NE(error.message().find("disk=ssd"), std::string::npos) << error.message();
  }
}

TEST_P(Resources, AreSetAsideForAPlacementGroup) {
  auto group = rt.placement_group({{.cpus = 1}, {.cpus = 1, .resources = {{"scanner", 1}}}}, {.name = "pair"});
  ASSERT_TRUE(group.wait(10s));
  EXPECT_EQ(rt.available_resources().get("cpu"), mobula::Amount{0});
  EXPECT_EQ(rt.available_resources().get("scanner"), mobula::Amount{0});
  std::vector<mobula::Ref<int>> refs;
  for (int i = 0; i < 20; ++i) refs.push_back(rt.with(TaskOptions{.placement = group.bundle(i % 2)}).remote<triple>(i));
  for (int i = 0; i < 20; ++i) refs.push_back(rt.with(TaskOptions{.placement = group.bundle()}).remote<triple>(i));
  EXPECT_EQ(rt.get(refs).back(), 57);
  const TaskOptions scan{.resources = {{"scanner", 1}}, .placement = group.bundle(1)};
  EXPECT_EQ(rt.get(rt.with(scan).remote<triple>(1)), 3);
  TaskOptions wrong = scan;
  wrong.placement = group.bundle(0);
  EXPECT_THROW(rt.with(wrong).remote<triple>(1), mobula::ResourceError);
  EXPECT_THROW(group.bundle(2), mobula::Error);
  {
    auto holder = rt.with(mobula::ActorOptions{.cpus = 1, .placement = group.bundle(0)}).actor<Holder>();
    EXPECT_EQ(rt.get(holder.call<&Holder::get>()), 7);
    rt.get(rt.stop(holder));
  }
  group.remove();
  EXPECT_THROW(rt.with(scan).remote<triple>(1), mobula::ResourceError);
  EXPECT_THROW(group.wait(), mobula::ResourceError);
  EXPECT_EQ(rt.get(rt.with(TaskOptions{.cpus = 2}).remote<triple>(5)), 15);
}

TEST_P(Resources, FailWhatWaitsInAGroupThatIsRemoved) {
  auto group = rt.placement_group({{.cpus = 1}});
  auto first = rt.with(TaskOptions{.placement = group.bundle(0)}).remote<sleep_until_cancelled>();
  auto second = rt.with(TaskOptions{.placement = group.bundle(0)}).remote<triple>(1);
  // A group that this machine can't hold beside the first one waits.
  auto later = rt.placement_group({{.cpus = 2}});
  EXPECT_FALSE(later.wait(10ms));
  group.remove();
  EXPECT_THROW(rt.get(second), mobula::ResourceError);
  rt.cancel(first);
  EXPECT_TRUE(later.wait(10s));
  later.remove();
}

TEST_P(Resources, RefusePlacementsThatCanNeverBe) {
  EXPECT_THROW(rt.placement_group({}), mobula::Error);
  EXPECT_THROW(rt.placement_group({{.cpus = 99}}), mobula::ResourceError);
  try {
    rt.placement_group({{.cpus = 1}, {.cpus = 1}}, {.strategy = mobula::PlacementStrategy::strict_spread});
    FAIL();
  } catch (const mobula::ResourceError& error) {
    EXPECT_NE(error.message().find("2 nodes"), std::string::npos) << error.message();
  }
  EXPECT_TRUE(rt.placement_group({{.cpus = 1}}, {.strategy = mobula::PlacementStrategy::strict_spread}).wait(10s));
}

TEST_P(Resources, HoldBackAnActorUntilTheyAreFree) {
  auto first = rt.with(mobula::ActorOptions{.resources = {{"scanner", 1}}}).actor<Holder>();
  EXPECT_EQ(rt.get(first.call<&Holder::get>()), 7);
  auto second = rt.with(mobula::ActorOptions{.resources = {{"scanner", 1}}}).actor<Holder>();
  auto waiting = second.call<&Holder::get>();
  EXPECT_THROW(rt.get(waiting, 30ms), mobula::TimeoutError);
  first = {};
  EXPECT_EQ(rt.get(waiting), 7);
}

// A stream of small tasks, always more than there is room for, must not keep a large one from its turn.
TEST_P(Resources, GiveALargeTaskItsTurnAmongSmallOnes) {
  const TaskOptions half{.cpus = 0.5};
  std::vector<mobula::Ref<int>> small;
  for (int i = 0; i < 50; ++i) small.push_back(rt.with(half).remote<triple>(i));
  auto large = rt.with(TaskOptions{.cpus = 2, .resources = {{"scanner", 1}}}).remote<triple>(100);
  int num_later = 0;
  while (!large.ready()) {
    auto done = rt.wait(std::move(small), {.num_ready = 1});
    small = std::move(done.pending);
    small.push_back(rt.with(half).remote<triple>(1));
    ASSERT_LT(++num_later, 100'000) << "starved";
  }
  EXPECT_EQ(rt.get(large), 300);
  rt.get(small);
}

INSTANTIATE_TEST_SUITE_P(Contract, Resources, testing::ValuesIn(embedded_engines()), engine_name);

}  // namespace contract
