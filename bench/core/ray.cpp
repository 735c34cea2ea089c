// What Mobula's Ray engine adds to the same calls made by hand: two programs on one cluster, in turn.
#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "measure.hpp"
#include "mobula/base/error.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/core/ray/ray_cluster.hpp"
#include "mobula/core/ray/ray_connection.hpp"

namespace bench {
namespace {

constexpr int kRounds = 7;

/// Runs a program of this folder, and adds its answers.
void run(const std::vector<std::string>& arguments, std::map<std::string, std::vector<double>>& answers) {
  mobula::Subprocess program(arguments, {.capture_stdout = true, .discard_stderr = true});
  while (const auto line = program.read_line()) {
    const auto space = line->find(' ');
    if (line->rfind("ray_", 0) == 0 && space != std::string::npos) {
      answers[line->substr(0, space)].push_back(std::stod(line->substr(space + 1)));
    }
  }
  if (const int code = program.wait(); code != 0) {
    throw mobula::Error(mobula::ErrorCode::task_failed, fmt::format("{} ended with {}", arguments[0], code));
  }
}

}  // namespace

void measure_ray_engine() {
  const std::filesystem::path folder = std::filesystem::path(mobula::program_path()).parent_path();
  const Metric absent{.name = "ray_task_round_trip_us", .unit = "us"};
  if (!std::filesystem::exists(folder / "ray_by_hand")) {
    report_absent(absent, {.name = "ray-cpp by hand", .run = {}, .absent = "./dev setup --all installs Ray"});
    return;
  }
  mobula::prepare_ray_token(true);
  const mobula::RayCluster cluster(mobula::load_ray_bridge().ray_library(), {.num_cpus = 2, .memory = 1ULL << 30});
  std::map<std::string, std::vector<double>> ours;
  std::map<std::string, std::vector<double>> by_hand;
  for (int round = 0; round < kRounds; ++round) {
    run({(folder / "ray_calls").string(), "--engine", "ray://" + cluster.address()}, ours);
    run({(folder / "ray_by_hand").string(), cluster.address()}, by_hand);
  }
  for (const auto& [name, values] : ours) {
    const Metric metric{.name = name, .unit = "us"};
    report(metric, "mobula", median(values), *std::min_element(values.begin(), values.end()));
    const std::vector<double>& theirs = by_hand.at(name);
    report(metric, "ray-cpp by hand", median(theirs), *std::min_element(theirs.begin(), theirs.end()));
  }
}

}  // namespace bench
