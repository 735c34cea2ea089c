#include "mobula/train/optimizer/adamw.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "mobula/base/random.hpp"
#include "mobula/train/optimizer/schedule.hpp"

namespace mobula::train {
namespace {

at::Tensor random_tensor(at::IntArrayRef shape, std::uint64_t stream) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  Random random(5, stream);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    tensor.data_ptr<float>()[i] = static_cast<float>(random.normal());
  }
  return tensor;
}

std::vector<nn::NamedTensor> parameters() {
  return {{"matrix", random_tensor({37, 1031}, 1)}, {"vector", random_tensor({19}, 2)}};
}

std::vector<const float*> pointers(const std::vector<at::Tensor>& tensors) {
  std::vector<const float*> result;
  for (const at::Tensor& tensor : tensors) result.push_back(tensor.const_data_ptr<float>());
  return result;
}

/// Algorithm 2 of the paper in double precision, the decay applied as PyTorch does.
struct Reference {
  double value, mean = 0, square = 0;
  void step(double gradient, double lr, double decay, const AdamWOptions& options, int t) {
    value -= lr * decay * value;
    mean = options.beta1 * mean + (1 - options.beta1) * gradient;
    square = options.beta2 * square + (1 - options.beta2) * gradient * gradient;
    const double root = std::sqrt(square / (1 - std::pow(options.beta2, t))) + options.epsilon;
    value -= lr / (1 - std::pow(options.beta1, t)) * mean / root;
  }
};

TEST(AdamW, FollowsThePaperAndDecaysMatricesOnly) {
  const AdamWOptions options{.beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1};
  const auto values = parameters();
  std::vector<Reference> matrix, vector;
  for (std::int64_t i = 0; i < values[0].tensor.numel(); ++i) matrix.push_back({values[0].tensor.data_ptr<float>()[i]});
  for (std::int64_t i = 0; i < values[1].tensor.numel(); ++i) vector.push_back({values[1].tensor.data_ptr<float>()[i]});
  AdamW optimizer(values, options);
  for (int t = 1; t <= 5; ++t) {
    const std::vector<at::Tensor> gradients = {random_tensor({37, 1031}, 10 + static_cast<std::uint64_t>(t)),
                                               random_tensor({19}, 20 + static_cast<std::uint64_t>(t))};
    optimizer.step(pointers(gradients), 0.01, 0.5);
    for (std::size_t i = 0; i < matrix.size(); ++i) {
      matrix[i].step(0.5 * gradients[0].data_ptr<float>()[i], 0.01, options.weight_decay, options, t);
    }
    for (std::size_t i = 0; i < vector.size(); ++i) {
      vector[i].step(0.5 * gradients[1].data_ptr<float>()[i], 0.01, 0, options, t);
    }
  }
  EXPECT_EQ(optimizer.num_steps(), 5);
  for (std::size_t i = 0; i < matrix.size(); ++i) {
    ASSERT_NEAR(values[0].tensor.data_ptr<float>()[i], matrix[i].value, 1e-5) << i;
  }
  for (std::size_t i = 0; i < vector.size(); ++i) {
    ASSERT_NEAR(values[1].tensor.data_ptr<float>()[i], vector[i].value, 1e-5) << i;
  }
}

TEST(AdamW, GivesTheSameBitsWithAnyNumberOfThreads) {
  const auto run = [](int threads) {
    at::set_num_threads(threads);
    const auto values = parameters();
    AdamW optimizer(values, {});
    const std::vector<at::Tensor> gradients = {random_tensor({37, 1031}, 3), random_tensor({19}, 4)};
    const double norm = optimizer.sum_of_squares(pointers(gradients));
    optimizer.step(pointers(gradients), 0.1, 1);
    return std::pair(norm, values[0].tensor);
  };
  const int before = at::get_num_threads();
  const auto [norm_one, one] = run(1);
  const auto [norm_two, two] = run(2);
  at::set_num_threads(before);
  EXPECT_EQ(norm_one, norm_two);
  EXPECT_EQ(std::memcmp(one.const_data_ptr(), two.const_data_ptr(), one.nbytes()), 0);
}

TEST(AdamW, GoesOnFromARestoredState) {
  const auto first = parameters();
  AdamW whole(first, {});
  const std::vector<at::Tensor> gradients = {random_tensor({37, 1031}, 3), random_tensor({19}, 4)};
  whole.step(pointers(gradients), 0.1, 1);

  const std::vector<nn::NamedTensor> second = {{"matrix", first[0].tensor.clone()},
                                               {"vector", first[1].tensor.clone()}};
  AdamW restored(second, {});
  const auto from = whole.state();
  const auto to = restored.state();
  ASSERT_EQ(from.size(), 4u);
  for (std::size_t i = 0; i < from.size(); ++i) {
    EXPECT_EQ(from[i].name, to[i].name);
    to[i].tensor.copy_(from[i].tensor);
  }
  restored.set_num_steps(whole.num_steps());
  whole.step(pointers(gradients), 0.1, 1);
  restored.step(pointers(gradients), 0.1, 1);
  EXPECT_TRUE(first[0].tensor.equal(second[0].tensor));
  EXPECT_TRUE(first[1].tensor.equal(second[1].tensor));
}

TEST(AdamW, LeavesParametersWithoutAGradientAlone) {
  const auto values = parameters();
  const at::Tensor before = values[0].tensor.clone();
  AdamW optimizer(values, {});
  const at::Tensor gradient = random_tensor({19}, 4);
  const float* const gradients[] = {nullptr, gradient.const_data_ptr<float>()};
  EXPECT_GT(optimizer.sum_of_squares(gradients), 0);
  optimizer.step(gradients, 0.1, 1);
  EXPECT_TRUE(values[0].tensor.equal(before));
}

TEST(CosineSchedule, WarmsUpAndFallsToItsFloor) {
  const CosineSchedule schedule{.peak = 1.0, .floor = 0.1, .warmup = 10, .end = 110};
  EXPECT_DOUBLE_EQ(schedule.rate(1), 0.1);
  EXPECT_DOUBLE_EQ(schedule.rate(10), 1.0);
  EXPECT_DOUBLE_EQ(schedule.rate(60), 0.55);
  EXPECT_DOUBLE_EQ(schedule.rate(110), 0.1);
  EXPECT_DOUBLE_EQ(schedule.rate(1000), 0.1);
  EXPECT_GT(schedule.rate(11), schedule.rate(12));
}

}  // namespace
}  // namespace mobula::train
