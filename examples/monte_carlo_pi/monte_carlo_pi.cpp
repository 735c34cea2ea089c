// Monte Carlo pi: independent tasks, each on its own stream of one seed, so that the answer does not depend on who ran
// what where.
//
//   monte_carlo_pi [SAMPLES] [--isolation process] [--num-cpus N]
#include <fmt/format.h>

#include <cstdlib>
#include <mobula/base/random.hpp>
#include <mobula/core.hpp>
#include <numeric>
#include <vector>

std::uint64_t count_inside(std::uint64_t stream, std::uint64_t samples) {
  mobula::Random random(42, stream);
  std::uint64_t inside = 0;
  for (std::uint64_t i = 0; i < samples; ++i) {
    const double x = random.uniform(), y = random.uniform();
    inside += x * x + y * y < 1 ? 1 : 0;
  }
  return inside;
}

int main(int argc, char** argv) {
  mobula::Runtime rt(argc, argv);
  const std::uint64_t samples = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 4'000'000;
  constexpr std::uint64_t kTasks = 64;
  std::vector<mobula::Ref<std::uint64_t>> counts;
  for (std::uint64_t task = 0; task < kTasks; ++task) counts.push_back(rt.remote<count_inside>(task, samples / kTasks));
  const auto inside = rt.get(counts);
  const auto total = std::accumulate(inside.begin(), inside.end(), std::uint64_t{0});
  fmt::print("pi is about {:.6f} ({} samples)\n",
             4.0 * static_cast<double>(total) / static_cast<double>(samples / kTasks * kTasks),
             samples / kTasks * kTasks);
}
