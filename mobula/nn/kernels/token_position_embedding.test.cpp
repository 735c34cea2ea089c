#include "mobula/nn/kernels/token_position_embedding.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "mobula/base/error.hpp"

namespace mobula::nn::kernels {
namespace {

TEST(TokenPositionEmbedding, MatchesTwoLookupsForwardAndBackward) {
  for (const std::int64_t width : {5, 128}) {
    const at::Tensor tokens = at::randn({11, width}).set_requires_grad(true);
    const at::Tensor positions = at::randn({9, width}).set_requires_grad(true);
    const at::Tensor ids = at::randint(11, {3, 7}, at::TensorOptions().dtype(at::kLong));
    ASSERT_TRUE(can_run_token_position_embedding(tokens, positions, ids));
    const at::Tensor direction = at::randn({3, 7, width});
    const at::Tensor out = token_position_embedding(tokens, positions, ids);
    (out * direction).sum().backward();
    const at::Tensor dtokens = tokens.grad().clone(), dpositions = positions.grad().clone();
    tokens.mutable_grad().reset();
    positions.mutable_grad().reset();
    const at::Tensor expected = at::embedding(tokens, ids) + positions.narrow(0, 0, 7);
    (expected * direction).sum().backward();
    EXPECT_TRUE(at::equal(out, expected));
    EXPECT_TRUE(dtokens.allclose(tokens.grad(), 1e-5, 1e-6));
    EXPECT_TRUE(dpositions.allclose(positions.grad(), 1e-5, 1e-6));
  }
}

TEST(TokenPositionEmbedding, NamesIdsOutsideTheVocabulary) {
  const at::Tensor ids = at::randint(5, 6, {1, 3}, at::TensorOptions().dtype(at::kLong));
  try {
    token_position_embedding(at::randn({5, 4}), at::randn({3, 4}), ids);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "token 5 at position 0 is outside the vocabulary of 5 tokens");
  }
  EXPECT_THROW(token_position_embedding(at::randn({9, 4}), at::randn({2, 4}), ids), Error);
}

}  // namespace
}  // namespace mobula::nn::kernels
