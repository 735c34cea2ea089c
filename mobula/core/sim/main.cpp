// simulate_calls [--seed N] [--runs K] [--trace]: runs the scheduler on imagined workers under the seeds N, N+1 ...;
// says which seed breaks a promise, and with --trace everything that happened in it.
#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "mobula/core/sim/call_simulation.hpp"

int main(int argc, char** argv) {
  mobula::sim::SimulationOptions options;
  std::uint64_t runs = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--trace") {
      options.trace = true;
    } else if ((word == "--seed" || word == "--runs") && i + 1 < argc) {
      (word == "--seed" ? options.seed : runs) = std::strtoull(argv[++i], nullptr, 10);
    } else {
      fmt::print(stderr, "error: unknown argument {}\nhint: simulate_calls [--seed N] [--runs K] [--trace]\n", word);
      return 2;
    }
  }
  std::int64_t events = 0;
  std::int64_t deaths = 0;
  std::int64_t calls = 0;
  for (std::uint64_t run = 0; run < runs; ++run, ++options.seed) {
    options.failures = mobula::sim::FailureSchedule::draw(options.seed);
    const auto result = mobula::sim::simulate_calls(options);
    for (const std::string& line : result.trace) fmt::print("{}\n", line);
    events += result.num_events;
    deaths += result.num_deaths;
    calls += result.num_succeeded + result.num_failed;
    if (result.violations.empty()) continue;
    fmt::print("seed {}: {}\n", options.seed, options.failures.text());
    for (const std::string& violation : result.violations) fmt::print("  {}\n", violation);
    fmt::print("replay with: simulate_calls --seed {} --trace\n", options.seed);
    return 1;
  }
  fmt::print("{} runs kept every promise: {} calls, {} deaths of workers, {} events\n", runs, calls, deaths, events);
  return 0;
}
