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

TEST(RotaryEmbedding, SaysWhenAGrowingTextTurnsItsBeginningAnew) {
  const RotaryEmbedding dynamic({.dim = 8, .scaling = RotaryScaling::dynamic, .factor = 2.0, .max_positions = 16});
  EXPECT_EQ(dynamic.shortest_alike(3), dynamic.shortest_alike(16));
  EXPECT_EQ(dynamic.shortest_alike(17), 17);
  EXPECT_EQ(dynamic.shortest_alike(21), 21);
  EXPECT_TRUE(dynamic.frequencies(16).equal(RotaryEmbedding({.dim = 8}).frequencies(16)));
  EXPECT_FALSE(dynamic.frequencies(17).equal(dynamic.frequencies(16)));
  const RotaryEmbedding longrope({.dim = 4,
                                  .scaling = RotaryScaling::longrope,
                                  .original_positions = 10,
                                  .short_divisors = {1, 1},
                                  .long_divisors = {2, 4}});
  EXPECT_EQ(longrope.shortest_alike(10), 1);
  EXPECT_EQ(longrope.shortest_alike(11), 11);
  EXPECT_EQ(longrope.shortest_alike(12), 11);
}

TEST(RotaryEmbedding, RefusesSizesThatDoNotFit) {
  EXPECT_THROW(RotaryEmbedding({.dim = 5}), Error);
  EXPECT_THROW(RotaryEmbedding({.dim = 4, .scaling = RotaryScaling::longrope, .short_divisors = {1}}), Error);
  EXPECT_THROW(RotaryEmbedding({.dim = 2, .scaling = RotaryScaling::dynamic}), Error);
}

}  // namespace
}  // namespace mobula::nn
