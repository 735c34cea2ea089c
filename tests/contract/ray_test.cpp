// What only a cluster can show: nodes that come and go. tests/contract/ray_contract.py starts the cluster, and ends a node
// when a test says so on standard output.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "every_engine.hpp"
#include "mobula/core.hpp"

namespace contract {

std::vector<int> numbers(std::size_t count) {
  return std::vector<int>(count, 7);
}
std::size_t count_of(const std::vector<int>& values) {
  return values.size();
}
int slow(int x) {
  sleep(3);
  return x;
}
struct Tally {
  int n = 0;
  int add(int k) { return n += k; }
};
int add_to_named() {
  return mobula::Runtime::current().get(mobula::Runtime::current().find_actor<Tally>("tally").call<&Tally::add>(5));
}

/// Keeps what it is given a handle of.
struct RangeHolder {
  std::vector<mobula::Ref<std::vector<double>>> held;
  void hold(std::vector<mobula::Ref<std::vector<double>>> refs) { held = std::move(refs); }
  void drop() { held.clear(); }
};

class Nodes : public EveryEngine {
 protected:
  /// Has the node "spare" ended, and another one started in its place.
  static void replace_node() {
    std::printf("REPLACE NODE\n");
    std::fflush(stdout);
    ASSERT_EQ(std::getchar(), '\n');
  }
  mobula::TaskOptions spare{.resources = {{"spare", 1}}};
};

TEST_P(Nodes, ShareTheirResources) {
  EXPECT_EQ(rt.resources().get("cpu"), mobula::Amount{3});
  EXPECT_EQ(rt.resources().get("spare"), mobula::Amount{2});
  EXPECT_THROW(rt.with(mobula::TaskOptions{.cpus = 64}).remote<slow>(1), mobula::ResourceError);
  EXPECT_THROW(rt.with(mobula::TaskOptions{.resources = {{"moon", 1}}}).remote<slow>(1), mobula::ResourceError);
  EXPECT_THROW(rt.with(mobula::TaskOptions{.cpus = 1.5}).remote<slow>(1), mobula::ResourceError);
}

TEST_P(Nodes, WaitForWhatIsReadyFirst) {
  std::vector<mobula::Ref<int>> refs{rt.remote<slow>(1), rt.remote<[] { return 2; }>()};
  auto [ready, pending] = rt.wait(refs, {.num_ready = 1});
  ASSERT_EQ(ready.size(), 1U);
  EXPECT_EQ(ready[0], refs[1]);
  EXPECT_THROW(rt.get(refs[0], std::chrono::milliseconds(50)), mobula::TimeoutError);
  EXPECT_TRUE(rt.wait(pending, {.num_ready = 1, .timeout = std::chrono::milliseconds(0)}).ready.empty());
  while (!refs[0].ready()) usleep(10'000);
  EXPECT_EQ(rt.get(refs[0]), 1);
}

TEST_P(Nodes, FindActorsThatTheProgramNamed) {
  auto tally = rt.with(mobula::ActorOptions{.name = "tally"}).actor<Tally>();
  EXPECT_EQ(rt.get(tally.call<&Tally::add>(1)), 1);
  EXPECT_EQ(rt.get(rt.remote<add_to_named>()), 6);
  EXPECT_EQ(rt.get(tally.call<&Tally::add>(0)), 6);
}

TEST_P(Nodes, RefuseWhatRayCanNotDo) {
  const auto code_of = [](const auto& work) {
    try {
      work();
    } catch (const mobula::Error& error) {
      EXPECT_FALSE(error.hint().empty());
      return error.code();
    }
    return mobula::ErrorCode::internal;
  };
  auto running = rt.remote<slow>(1);
  EXPECT_EQ(code_of([&] { rt.cancel(running); }), mobula::ErrorCode::unsupported);
  EXPECT_EQ(code_of([&] { rt.with(mobula::TaskOptions{.isolation = mobula::Isolation::thread}).remote<slow>(1); }),
            mobula::ErrorCode::unsupported);
  EXPECT_EQ(code_of([&] { rt.with(mobula::ActorOptions{.concurrency = 2}).actor<Tally>(); }),
            mobula::ErrorCode::unsupported);
  EXPECT_EQ(code_of([&] { rt.with(mobula::ActorOptions{.name = "d", .detached = true}).actor<Tally>(); }),
            mobula::ErrorCode::unsupported);
  EXPECT_EQ(code_of([&] {
              rt.with(mobula::TaskOptions{.labels = {{"zone", "a"}}}).remote<slow>(1);
            }),
            mobula::ErrorCode::unsupported);
  EXPECT_EQ(rt.get(running), 1);
}

TEST_P(Nodes, FailTasksWhoseTimeIsUp) {
  auto late = rt.with(mobula::TaskOptions{.timeout = std::chrono::milliseconds(300)}).remote<slow>(1);
  EXPECT_THROW(rt.get(late), mobula::TimeoutError);
}

TEST_P(Nodes, SetResourcesAsideInGroups) {
  auto group = rt.placement_group({{.cpus = 1}, {.resources = {{"spare", 1}}}});
  EXPECT_TRUE(group.wait(std::chrono::seconds(20)));
  const mobula::TaskOptions in_group{.cpus = 0, .resources = {{"spare", 1}}, .placement = group.bundle(1)};
  EXPECT_EQ(rt.get(rt.with(in_group).remote<[] { return 2; }>()), 2);
  group.remove();
  EXPECT_THROW(group.wait(), mobula::ResourceError);
  EXPECT_THROW(rt.placement_group({{.cpus = 64}}), mobula::ResourceError);
}

TEST_P(Nodes, GiveTheStoreBackWhenTheLastHandleGoes) {
  // What Ray's stores hold, in megabytes.
  const auto used = [&] {
    double sum = 0;
    for (const mobula::NodeInfo& node : rt.nodes()) {
      const auto in_use = [&](const mobula::ResourceSet& set) { return set.get("object_store_memory").value(); };
      if (node.alive) sum += in_use(node.total) - in_use(node.available);
    }
    return sum / 1e6;
  };
  const auto becomes = [&](const auto& condition) {
    for (int i = 0; i < 400 && !condition(used()); ++i) usleep(50'000);
    return used();
  };
  const double before = used();
  auto value = rt.put(std::vector<double>(5'000'000, 1.0), {.shared = true});
  auto result = rt.remote<[] { return std::vector<double>(5'000'000, 2.0); }>();
  rt.wait(std::vector{result}, {.num_ready = 1});
  EXPECT_GE(becomes([&](double now) { return now >= before + 79; }), before + 79);
  // An actor's handle keeps an object as the program's does.
  auto holder = rt.actor<RangeHolder>();
  rt.get(holder.call<&RangeHolder::hold>(std::vector{value}));
  const auto another = result;
  value = {};
  result = {};
  sleep(2);
  EXPECT_GE(used(), before + 79);
  rt.get(holder.call<&RangeHolder::drop>());
  EXPECT_LE(becomes([&](double now) { return now <= before + 41; }), before + 41);
  EXPECT_EQ(rt.get(another).front(), 2.0);
}

TEST_P(Nodes, RecomputeWhatADeadNodeHeld) {
  // Large results stay on the node that made them.
  auto held = rt.with(spare).remote<numbers>(std::size_t{1'000'000});
  EXPECT_EQ(rt.get(rt.with(spare).remote<count_of>(held)), 1'000'000U);
  auto running = rt.with(spare).remote<slow>(3);
  usleep(500'000);
  replace_node();
  EXPECT_EQ(rt.get(running), 3);
  EXPECT_EQ(rt.get(rt.remote<count_of>(held)), 1'000'000U);
}

TEST_P(Nodes, TakeTheirActorsWithThemUnlessTheyMayRestart) {
  auto mortal = rt.with(mobula::ActorOptions{.resources = {{"spare", 0.1}}}).actor<Tally>();
  auto immortal = rt.with(mobula::ActorOptions{.resources = {{"spare", 0.1}}, .max_restarts = 1, .max_task_retries = 3})
                      .actor<Tally>();
  EXPECT_EQ(rt.get(mortal.call<&Tally::add>(2)), 2);
  EXPECT_EQ(rt.get(immortal.call<&Tally::add>(2)), 2);
  replace_node();
  EXPECT_THROW(rt.get(mortal.call<&Tally::add>(2)), mobula::WorkerDiedError);
  // Made anew, it has forgotten.
  EXPECT_EQ(rt.get(immortal.call<&Tally::add>(3)), 3);
}

std::vector<EngineCase> clusters() {
  std::vector<EngineCase> engines = engines_with_processes();
  engines.erase(engines.begin());
  return engines;
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Nodes);
INSTANTIATE_TEST_SUITE_P(Contract, Nodes, testing::ValuesIn(clusters()), engine_name);

}  // namespace contract
