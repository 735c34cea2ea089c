#include "mobula/core/sim/handle_simulation.hpp"

#include <gtest/gtest.h>

#include "mobula/base/log.hpp"

namespace mobula::sim {
namespace {

TEST(HandleSimulation, KeepsWhatSomebodyCanGetAtAndNothingElse) {
  int objects = 0, calls = 0, deaths = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    const HandleSimulationResult result = simulate_handles({.seed = seed});
    ASSERT_TRUE(result.violations.empty()) << "seed " << seed << ": " << result.violations[0];
    objects += result.num_objects;
    calls += result.num_calls;
    deaths += result.num_deaths;
  }
  EXPECT_GT(objects, 20'000);
  EXPECT_GT(calls, 10'000);
  EXPECT_GT(deaths, 1'000);
}

int num_found(HandleMistake mistake) {
  set_log_level(LogLevel::off);  // a driver that makes mistakes says so
  int found = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    found += simulate_handles({.seed = seed, .mistake = mistake}).violations.empty() ? 0 : 1;
  }
  set_log_level(LogLevel::warning);
  return found;
}

TEST(HandleSimulation, FindsResultsThatAreTakenBeforeWhatTheWorkerHadSaid) {
  EXPECT_GT(num_found(HandleMistake::results_before_frames), 0);
}

TEST(HandleSimulation, FindsFramesThatAreActedOnBeforeResultsThatWereShown) {
  EXPECT_GT(num_found(HandleMistake::frames_before_results), 0);
}

}  // namespace
}  // namespace mobula::sim
