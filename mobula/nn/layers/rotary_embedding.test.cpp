#include "mobula/nn/layers/rotary_embedding.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/rand.h>
#include <gtest/gtest.h>

#include <cmath>

#include "mobula/base/error.hpp"

namespace mobula::nn {
namespace {

at::Tensor positions(std::int64_t begin, std::int64_t end) {
  return at::arange(begin, end, at::TensorOptions().dtype(at::kLong));
}

TEST(RotaryEmbedding, MakesProductsDependOnDistanceAlone) {
  for (const bool interleaved : {false, true}) {
    const RotaryEmbedding rotary({.dim = 8, .interleaved = interleaved});
    const at::Tensor q = at::rand({1, 1, 1, 10}), k = at::rand({1, 1, 1, 10});
    const auto product = [&](std::int64_t at_query, std::int64_t at_key) {
      const at::Tensor a = rotary.turn(q, rotary.table(positions(at_query, at_query + 1), 64));
      const at::Tensor b = rotary.turn(k, rotary.table(positions(at_key, at_key + 1), 64));
      return a.mul(b).sum().item<double>();
    };
    EXPECT_NEAR(product(5, 2), product(45, 42), 1e-5);
    EXPECT_GT(std::abs(product(5, 2) - product(5, 4)), 1e-4);
  }
}

TEST(RotaryEmbedding, LeavesDimensionsBeyondItsOwnAlone) {
  const RotaryEmbedding rotary({.dim = 4});
  const at::Tensor x = at::rand({1, 3, 2, 6});
  const at::Tensor turned = rotary.turn(x, rotary.table(positions(0, 3), 3));
  EXPECT_TRUE(turned.narrow(3, 4, 2).equal(x.narrow(3, 4, 2)));
  EXPECT_TRUE(turned.select(1, 0).allclose(x.select(1, 0)));
}

TEST(RotaryFrequencies, SayWhenAGrowingTextTurnsItsBeginningAnew) {
  const RotaryOptions dynamic = {.dim = 8, .scaling = RotaryScaling::dynamic, .factor = 2.0, .max_positions = 16};
  EXPECT_EQ(shortest_alike(dynamic, 3), shortest_alike(dynamic, 16));
  EXPECT_EQ(shortest_alike(dynamic, 17), 17);
  EXPECT_EQ(shortest_alike(dynamic, 21), 21);
  EXPECT_EQ(rotary_frequencies(dynamic, 16), rotary_frequencies({.dim = 8}, 16));
  EXPECT_NE(rotary_frequencies(dynamic, 17), rotary_frequencies(dynamic, 16));
  const RotaryOptions longrope = {.dim = 4,
                                  .scaling = RotaryScaling::longrope,
                                  .original_positions = 10,
                                  .short_divisors = {1, 1},
                                  .long_divisors = {2, 4}};
  EXPECT_EQ(shortest_alike(longrope, 10), 1);
  EXPECT_EQ(shortest_alike(longrope, 11), 11);
  EXPECT_EQ(shortest_alike(longrope, 12), 11);
}

TEST(RotaryEmbedding, RefusesSizesThatDoNotFit) {
  EXPECT_THROW(RotaryEmbedding({.dim = 5}), Error);
  EXPECT_THROW(RotaryEmbedding({.dim = 4, .scaling = RotaryScaling::longrope, .short_divisors = {1}}), Error);
  EXPECT_THROW(RotaryEmbedding({.dim = 2, .scaling = RotaryScaling::dynamic}), Error);
}

}  // namespace
}  // namespace mobula::nn
