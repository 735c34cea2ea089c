#include "mobula/nn/kernels/norm_head_cross_entropy.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "mobula/base/error.hpp"

namespace mobula::nn::kernels {
namespace {

struct Inputs {
  at::Tensor x, weight, bias, head;
};

Inputs random_inputs(std::int64_t rows, std::int64_t width, std::int64_t vocabulary, at::ScalarType type) {
  Inputs in = {at::randn({1, rows, width}), 1.0 + 0.3 * at::randn({width}), 0.3 * at::randn({width}),
               at::randn({vocabulary, width}) / std::sqrt(static_cast<double>(width))};
  for (at::Tensor* t : {&in.x, &in.weight, &in.bias, &in.head}) *t = t->to(type).set_requires_grad(true);
  return in;
}

Inputs in_double(const Inputs& in) {
  Inputs out = in;
  for (at::Tensor* t : {&out.x, &out.weight, &out.bias, &out.head}) {
    *t = t->detach().to(at::kDouble).set_requires_grad(true);
  }
  return out;
}

at::Tensor random_targets(std::int64_t rows, std::int64_t vocabulary) {
  return at::randint(vocabulary, {1, rows}, at::TensorOptions().dtype(at::kLong));
}

at::Tensor ours(const Inputs& in, const at::Tensor& targets, Precision precision = Precision::fp32) {
  EXPECT_TRUE(can_run_norm_head_cross_entropy(in.x, in.weight, in.bias, in.head, precision));
  return norm_head_cross_entropy(in.x, in.weight, in.bias, 1e-5, in.head, targets, precision);
}

void expect_near_reference(std::int64_t rows, std::int64_t width, std::int64_t vocabulary, Precision precision,
                           double tolerance) {
  const Inputs in = random_inputs(rows, width, vocabulary, at::kFloat);
  const Inputs exact = in_double(in);
  at::Tensor targets = random_targets(rows, vocabulary);
  if (rows > 2) targets.view({-1})[2].fill_(-100);
  const at::Tensor loss = ours(in, targets, precision);
  const at::Tensor normed = at::layer_norm(exact.x, {width}, exact.weight, exact.bias, 1e-5);
  const at::Tensor expected =
      at::cross_entropy_loss(at::matmul(normed, exact.head.t()).view({rows, vocabulary}), targets.view({-1}));
  EXPECT_NEAR(loss.item<double>(), expected.item<double>(), tolerance * expected.item<double>());
  // A factor, as gradient accumulation has one.
  (loss * 0.25).backward();
  (expected * 0.25).backward();
  const auto error = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a.grad().to(at::kDouble) - b.grad()).norm() / b.grad().norm()).item<double>();
  };
  EXPECT_LT(error(in.x, exact.x), tolerance);
  EXPECT_LT(error(in.weight, exact.weight), tolerance);
  EXPECT_LT(error(in.bias, exact.bias), tolerance);
  EXPECT_LT(error(in.head, exact.head), tolerance);
}

TEST(NormHeadCrossEntropy, MatchesDoublePrecisionForwardAndBackward) {
  expect_near_reference(768, 128, 65, Precision::fp32, 2e-6);
  expect_near_reference(1, 7, 3, Precision::fp32, 5e-6);
  expect_near_reference(130, 48, 500, Precision::fp32, 2e-6);
}

TEST(NormHeadCrossEntropy, StaysNearDoublePrecisionInBf16) {
  expect_near_reference(768, 128, 65, Precision::bf16, 1e-2);
  expect_near_reference(67, 96, 130, Precision::bf16, 1e-2);
}

TEST(NormHeadCrossEntropy, GivesTheSameGradientTwice) {
  const Inputs in = random_inputs(70, 32, 40, at::kFloat);
  const at::Tensor loss = ours(in, random_targets(70, 40));
  loss.backward({}, /*retain_graph=*/true);
  const at::Tensor first = in.head.grad().clone();
  in.head.mutable_grad().reset();
  loss.backward();
  EXPECT_TRUE(at::equal(first, in.head.grad()));
}

TEST(NormHeadCrossEntropy, GivesTheSameBitsWithAnyNumberOfThreads) {
  const Inputs in = random_inputs(300, 64, 90, at::kFloat);
  const at::Tensor targets = random_targets(300, 90);
  const int threads = at::get_num_threads();
  const auto run = [&](int count) {
    at::set_num_threads(count);
    for (const at::Tensor* t : {&in.x, &in.weight, &in.bias, &in.head}) t->mutable_grad().reset();
    ours(in, targets).backward();
    return std::vector<at::Tensor>{in.x.grad(), in.weight.grad(), in.bias.grad(), in.head.grad()};
  };
  const std::vector<at::Tensor> one = run(1), three = run(3);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], three[i])) << i;
  at::set_num_threads(threads);
}

TEST(NormHeadCrossEntropy, NamesTargetsOutsideTheVocabulary) {
  const Inputs in = random_inputs(4, 8, 5, at::kFloat);
  at::Tensor targets = random_targets(4, 5);
  targets.view({-1})[3].fill_(5);
  try {
    ours(in, targets);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "target 5 at position 3 is outside the vocabulary of 5 tokens");
  }
}

TEST(NormHeadCrossEntropy, IsNotANumberWithoutAnyTarget) {
  const Inputs in = random_inputs(4, 8, 5, at::kFloat);
  const at::Tensor loss = ours(in, at::full({1, 4}, -100, at::TensorOptions().dtype(at::kLong)));
  EXPECT_TRUE(std::isnan(loss.item<float>()));
}

}  // namespace
}  // namespace mobula::nn::kernels
