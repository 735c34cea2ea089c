#include "mobula/nn/kernels/prenorm_block.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/add.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

namespace mobula::nn::kernels {
namespace {

struct Sizes {
  std::int64_t batch, positions, width, inner, heads;
};

std::vector<at::Tensor> random_parameters(const Sizes& s) {
  const auto matrix = [](std::int64_t rows, std::int64_t columns) {
    return at::randn({rows, columns}) / std::sqrt(static_cast<double>(rows));
  };
  const auto vector = [](std::int64_t n) { return 0.3 * at::randn({n}); };
  return {1.0 + vector(s.width),    vector(s.width), matrix(s.width, 3 * s.width), vector(3 * s.width),
          matrix(s.width, s.width), vector(s.width), 1.0 + vector(s.width),        vector(s.width),
          matrix(s.width, s.inner), vector(s.inner), matrix(s.inner, s.width),     vector(s.width)};
}

PrenormBlockParameters named(const std::vector<at::Tensor>& p) {
  return {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11]};
}

at::Tensor reference(const at::Tensor& x, const std::vector<at::Tensor>& p, const Sizes& s, double scale) {
  const auto norm = [&](const at::Tensor& t, std::size_t i) {
    return at::layer_norm(t, {s.width}, p[i], p[i + 1], 1e-5);
  };
  const auto map = [&](const at::Tensor& t, std::size_t i) { return at::matmul(t, p[i]) + p[i + 1]; };
  const at::Tensor qkv = map(norm(x, 0), 2).view({s.batch, s.positions, 3, s.heads, -1}).permute({2, 0, 3, 1, 4});
  const at::Tensor attended =
      at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], {}, 0.0, /*is_causal=*/true, scale)
          .transpose(1, 2)
          .reshape({s.batch, s.positions, s.width});
  const at::Tensor middle = x + map(attended, 4);
  return middle + map(at::gelu(map(norm(middle, 6), 8), "tanh"), 10);
}

std::vector<at::Tensor> leaves(const std::vector<at::Tensor>& tensors, at::ScalarType type) {
  std::vector<at::Tensor> copies;
  for (const at::Tensor& t : tensors) copies.push_back(t.to(type).detach().clone().set_requires_grad(true));
  return copies;
}

double relative_error(const at::Tensor& value, const at::Tensor& exact) {
  return ((value.to(at::kDouble) - exact).norm() / (exact.norm() + 1e-12)).item<double>();
}

// Largest relative error of the output and of all gradients against double precision.
void expect_near_reference(const Sizes& s, Precision precision, double tolerance) {
  const double scale = 1.3 / std::sqrt(static_cast<double>(s.width / s.heads));
  std::vector<at::Tensor> values = random_parameters(s);
  values.push_back(at::randn({s.batch, s.positions, s.width}));
  const at::Tensor direction = at::randn({s.batch, s.positions, s.width});
  const std::vector<at::Tensor> ours = leaves(values, at::kFloat), exact = leaves(values, at::kDouble);
  const PrenormBlockOptions options = {.num_heads = s.heads, .attention_scale = scale, .precision = precision};
  ASSERT_TRUE(can_run_prenorm_block(ours[12], named(ours), options));
  const at::Tensor y = prenorm_block(ours[12], named(ours), options);
  const at::Tensor expected = reference(exact[12], exact, s, scale);
  EXPECT_LT(relative_error(y, expected), tolerance);
  (y * direction).sum().backward();
  (expected * direction).sum().backward();
  for (std::size_t i = 0; i < ours.size(); ++i) {
    ASSERT_TRUE(ours[i].grad().defined()) << i;
    EXPECT_LT(relative_error(ours[i].grad(), exact[i].grad()), tolerance) << "parameter " << i;
  }
}

TEST(PrenormBlock, MatchesDoublePrecisionForwardAndBackward) {
  expect_near_reference({12, 64, 128, 512, 4}, Precision::fp32, 2e-6);
}

TEST(PrenormBlock, TakesSizesThatFillNoVector) {
  expect_near_reference({3, 7, 30, 50, 3}, Precision::fp32, 2e-6);
  expect_near_reference({1, 1, 5, 3, 1}, Precision::fp32, 5e-6);
  expect_near_reference({2, 77, 72, 200, 2}, Precision::fp32, 2e-6);
}

TEST(PrenormBlock, TakesContextsOfManyQueryBlocks) {
  expect_near_reference({1, 300, 64, 96, 2}, Precision::fp32, 2e-6);
}

TEST(PrenormBlock, StaysNearDoublePrecisionInBf16) {
  expect_near_reference({12, 64, 128, 512, 4}, Precision::bf16, 1e-2);
  expect_near_reference({3, 21, 96, 160, 3}, Precision::bf16, 1e-2);
}

TEST(PrenormBlock, LeavesOddWidthsInBf16ToTheCaller) {
  const Sizes s = {1, 4, 30, 60, 3};
  const std::vector<at::Tensor> p = leaves(random_parameters(s), at::kFloat);
  const at::Tensor x = at::randn({s.batch, s.positions, s.width});
  EXPECT_FALSE(can_run_prenorm_block(x, named(p), {.num_heads = 3, .precision = Precision::bf16}));
  EXPECT_TRUE(can_run_prenorm_block(x, named(p), {.num_heads = 3}));
  EXPECT_FALSE(can_run_prenorm_block(x.to(at::kDouble), named(p), {.num_heads = 3}));
}

TEST(PrenormBlock, GivesTheSameBitsWithAnyNumberOfThreads) {
  const Sizes s = {5, 40, 64, 160, 4};
  const std::vector<at::Tensor> values = random_parameters(s);
  const at::Tensor input = at::randn({s.batch, s.positions, s.width});
  const int threads = at::get_num_threads();
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const auto run = [&](int count) {
      at::set_num_threads(count);
      const std::vector<at::Tensor> p = leaves(values, at::kFloat);
      const at::Tensor x = input.clone().set_requires_grad(true);
      const at::Tensor y = prenorm_block(x, named(p), {.num_heads = s.heads, .precision = precision});
      y.square().sum().backward();
      std::vector<at::Tensor> results = {y.detach(), x.grad()};
      for (const at::Tensor& t : p) results.push_back(t.grad());
      return results;
    };
    const std::vector<at::Tensor> one = run(1), three = run(3), again = run(3);
    for (std::size_t i = 0; i < one.size(); ++i) {
      EXPECT_TRUE(at::equal(one[i], three[i])) << i;
      EXPECT_TRUE(at::equal(three[i], again[i])) << i;
    }
  }
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace mobula::nn::kernels
