#include "mobula/core/sim/call_simulation.hpp"

#include <gtest/gtest.h>

namespace mobula::sim {
namespace {

SimulationResult run(std::uint64_t seed, SimulationOptions options = {}) {
  options.seed = seed;
  options.failures = FailureSchedule::draw(seed);
  return simulate_calls(options);
}

/// Returns how many of these seeds break a promise.
int num_found(const SimulationOptions& options, int num_seeds) {
  int found = 0;
  for (int seed = 1; seed <= num_seeds; ++seed) {
    if (!run(static_cast<std::uint64_t>(seed), options).violations.empty()) ++found;
  }
  return found;
}

template <class Wrong>
int num_found(int num_seeds) {
  SimulationOptions options;
  options.make_scheduler = [] { return std::make_unique<Wrong>(); };
  return num_found(options, num_seeds);
}

TEST(CallSimulation, KeepsEveryPromiseUnderThousandsOfFailureSchedules) {
  std::int64_t deaths = 0, retries = 0, succeeded = 0;
  for (std::uint64_t seed = 1; seed <= 4000; ++seed) {
    const SimulationResult result = run(seed);
    ASSERT_TRUE(result.violations.empty())
        << result.violations[0] << "\nreplay with: simulate_calls --seed " << seed << " --trace\n"
        << FailureSchedule::draw(seed).text();
    deaths += result.num_deaths;
    retries += result.num_retries;
    succeeded += result.num_succeeded;
  }
  // It went through something.
  EXPECT_GT(deaths, 50'000);
  EXPECT_GT(retries, 5'000);
  EXPECT_GT(succeeded, 100'000);
}

TEST(CallSimulation, DoesTheSameAgainUnderTheSameSeed) {
  SimulationOptions options;
  options.trace = true;
  const SimulationResult first = run(7, options);
  EXPECT_FALSE(first.trace.empty());
  EXPECT_EQ(run(7, options).trace, first.trace);
  EXPECT_NE(run(8, options).trace, first.trace);
}

struct LosesRetries final : CallScheduler {
  bool retry(const Call&) const override { return false; }
};
struct RetriesOnceTooOften final : CallScheduler {
  bool retry(const Call& call) const override { return call.attempts <= call.retries; }
};
struct BelievesLateReports final : CallScheduler {
  bool current(std::uint32_t, std::uint32_t) const override { return true; }
};

TEST(CallSimulation, FindsASchedulerThatLosesRetries) {
  EXPECT_GT(num_found<LosesRetries>(50), 5);
}

TEST(CallSimulation, FindsASchedulerThatRetriesOnceTooOften) {
  EXPECT_GT(num_found<RetriesOnceTooOften>(50), 5);
}

TEST(CallSimulation, FindsASchedulerThatBelievesLateReports) {
  EXPECT_GT(num_found<BelievesLateReports>(200), 5);
}

TEST(CallSimulation, FindsResourcesThatDoNotComeBack) {
  EXPECT_GT(num_found({.mistake = Mistake::keeps_resources_of_failed_calls}, 50), 5);
}

TEST(CallSimulation, FindsResourcesThatComeBackTwice) {
  EXPECT_GT(num_found({.mistake = Mistake::gives_resources_back_twice}, 50), 5);
}

TEST(CallSimulation, FindsCallsThatAreForgottenWithTheirWorker) {
  EXPECT_GT(num_found({.mistake = Mistake::forgets_what_a_dead_worker_ran}, 50), 5);
}

TEST(CallSimulation, FindsACallWhoseWakeUpDiedWithTheWorker) {
  // Rare: the last worker but one dies at the moment it is woken, and no other can be started.
  SimulationOptions options;
  options.mistake = Mistake::wakes_nobody_after_a_death;
  options.failures = {.num_workers = 3, .num_tasks = 40, .num_actors = 0, .num_cancels = 0};
  options.failures.dies_idle = 0.3;
  options.failures.fails_to_start = 0.9;
  int found = 0;
  for (options.seed = 1; options.seed <= 3000; ++options.seed)
    found += simulate_calls(options).violations.empty() ? 0 : 1;
  EXPECT_GT(found, 0);
}

}  // namespace
}  // namespace mobula::sim
