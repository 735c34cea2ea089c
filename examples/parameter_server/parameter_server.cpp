// A parameter server: one actor holds the weights of a logistic regression, tasks compute gradients on their shards of the
// data, and every round's gradients are applied together.
//
//   parameter_server [ROUNDS] [--isolation process]
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <mobula/base/random.hpp>
#include <mobula/core.hpp>
#include <vector>

constexpr size_t kFeatures = 16;

struct Shard {
  std::vector<double> x;  // rows of kFeatures
  std::vector<double> y;  // 0 or 1
};

struct Gradient {
  std::vector<double> values;
  double loss = 0;
  long correct = 0;
};

class ParameterServer {
 public:
  explicit ParameterServer(double rate) : rate_(rate), weights_(kFeatures, 0.0) {}
  std::vector<double> weights() const { return weights_; }
  void apply(const std::vector<Gradient>& gradients, long rows) {
    for (const Gradient& gradient : gradients) {
      for (size_t i = 0; i < kFeatures; ++i) weights_[i] -= rate_ * gradient.values[i] / static_cast<double>(rows);
    }
  }

 private:
  double rate_;
  std::vector<double> weights_;
};

/// Makes a shard of points on two sides of a hidden plane; its own random stream.
Shard make_shard(std::uint64_t id, long rows) {
  mobula::Random random(5, id);
  Shard shard;
  for (long row = 0; row < rows; ++row) {
    double side = 0;
    for (size_t i = 0; i < kFeatures; ++i) {
      const double value = random.normal();
      shard.x.push_back(value);
      side += value * (i % 2 == 0 ? 1.0 : -0.5);
    }
    shard.y.push_back(side + 0.5 * random.normal() > 0 ? 1 : 0);
  }
  return shard;
}

Gradient compute_gradient(const Shard& shard, const std::vector<double>& weights) {
  Gradient gradient{std::vector<double>(kFeatures, 0.0), 0, 0};
  for (size_t row = 0; row < shard.y.size(); ++row) {
    double z = 0;
    for (size_t i = 0; i < kFeatures; ++i) z += weights[i] * shard.x[row * kFeatures + i];
    const double probability = 1 / (1 + std::exp(-z));
    gradient.loss -= std::log(shard.y[row] > 0 ? probability : 1 - probability);
    gradient.correct += (probability > 0.5) == (shard.y[row] > 0.5) ? 1 : 0;
    for (size_t i = 0; i < kFeatures; ++i)
      gradient.values[i] += (probability - shard.y[row]) * shard.x[row * kFeatures + i];
  }
  return gradient;
}

int main(int argc, char** argv) {
  mobula::Runtime rt(argc, argv);
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 30;
  constexpr std::uint64_t kShards = 8;
  constexpr long kRows = 500;
  std::vector<mobula::Ref<Shard>> shards;
  for (std::uint64_t id = 0; id < kShards; ++id) shards.push_back(rt.remote<make_shard>(id, kRows));
  auto server = rt.actor<ParameterServer>(2.0);
  for (int round = 1; round <= rounds; ++round) {
    const auto weights = server.call<&ParameterServer::weights>();
    std::vector<mobula::Ref<Gradient>> parts;
    for (const auto& shard : shards) parts.push_back(rt.remote<compute_gradient>(shard, weights));
    const std::vector<Gradient> gradients = rt.get(parts);
    rt.get(server.call<&ParameterServer::apply>(gradients, static_cast<long>(kShards) * kRows));
    if (round % 10 != 0) continue;
    double loss = 0;
    long correct = 0;
    for (const Gradient& gradient : gradients) {
      loss += gradient.loss;
      correct += gradient.correct;
    }
    fmt::print("round {:>3}: loss {:.6f}, {} of {} right\n", round, loss / (kShards * kRows), correct, kShards * kRows);
  }
}
