#include "mobula/core/sim/failure_schedule.hpp"

#include <fmt/format.h>

#include "mobula/base/random.hpp"

namespace mobula::sim {

FailureSchedule FailureSchedule::draw(std::uint64_t seed) {
  Random random(seed, 1);
  const auto between = [&](int low, int high) {
    return low + static_cast<int>(random.below(static_cast<std::uint64_t>(high - low + 1)));
  };
  // Often none, sometimes rare, sometimes all the time.
  const auto rate = [&](double most) {
    return random.below(4) == 0 ? 0.0 : most * random.uniform() * random.uniform();
  };
  FailureSchedule s;
  s.network = random.below(2) == 0;
  s.num_nodes = between(1, 4);
  s.num_workers = between(1, 8);
  s.num_slots = between(1, 16);
  s.num_tasks = between(1, 120);
  s.num_actors = between(0, 4);
  s.calls_per_actor = between(1, 30);
  s.num_cancels = random.below(3) == 0 ? 0 : between(1, 20);
  s.num_kills = random.below(2) == 0 ? 0 : between(1, 3);
  s.num_node_deaths = random.below(2) == 0 ? 0 : between(1, 4);
  s.dies_running = rate(0.8);
  s.dies_idle = rate(0.3);
  s.fails_to_start = rate(1.0);
  s.refused = rate(0.1);
  s.throws = rate(0.3);
  s.duplicated = rate(0.8);
  s.slow = rate(0.5);
  s.stops_early = random.below(8) == 0 ? 1 : 0;
  s.longest_delay = between(1, 2000);
  s.longest_call = between(1, 5000);
  return s;
}

std::string FailureSchedule::text() const {
  return fmt::format(
      "{} with {} nodes, {} workers, {} slots; {} tasks, {} actors with {} calls each; {} cancels, {} kills, {} node "
      "deaths; dies running {:.2f}, idle {:.2f}, fails to start {:.2f}, refused {:.2f}, throws {:.2f}, duplicated "
      "{:.2f}, slow {:.2f}; delays up to {} us, calls up to {} us{}",
      network ? "network" : "shared memory", num_nodes, num_workers, num_slots, num_tasks, num_actors, calls_per_actor,
      num_cancels, num_kills, num_node_deaths, dies_running, dies_idle, fails_to_start, refused, throws, duplicated,
      slow, longest_delay, longest_call, stops_early > 0 ? "; stops early" : "");
}

}  // namespace mobula::sim
