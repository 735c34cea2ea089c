#include "mobula/models/gpt2/model.hpp"

#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>

#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/models/registry.hpp"

namespace mobula::models {
namespace {

Json tiny(double dropout = 0.0) {
  return {{"model_type", "gpt2"},   {"vocab_size", 23},      {"n_positions", 12},
          {"n_embd", 24},           {"n_layer", 2},          {"n_head", 3},
          {"resid_pdrop", dropout}, {"embd_pdrop", dropout}, {"attn_pdrop", dropout},
          {"eos_token_id", nullptr}};
}

at::Tensor random_ids() {
  return at::randint(23, {2, 12}, at::TensorOptions().dtype(at::kLong));
}

TEST(Gpt2, NamesItsParametersAsTransformersDoes) {
  const auto model = make_causal_lm(tiny(), 1);
  EXPECT_EQ(model->parameters().size(), 2u + 2 * 12 + 2);
  EXPECT_EQ(model->parameter("transformer.h.1.attn.c_attn.weight").sizes(), at::IntArrayRef({24, 72}));
  EXPECT_EQ(model->parameter("transformer.h.0.mlp.c_proj.weight").sizes(), at::IntArrayRef({96, 24}));
  EXPECT_THROW(model->parameter("transformer.h.2.ln_1.weight"), Error);
  EXPECT_TRUE(model->info().eos_ids.empty());
}

TEST(Gpt2, StartsWithALossNearTheUniformOne) {
  const auto model = make_causal_lm(tiny(), 1);
  EXPECT_NEAR(model->loss(random_ids(), random_ids()).item<float>(), std::log(23.0), 0.2);
}

TEST(Gpt2, StartsWithTheSameValuesUnderOneSeedAndOthersUnderAnother) {
  const auto a = make_causal_lm(tiny(), 1), b = make_causal_lm(tiny(), 1), c = make_causal_lm(tiny(), 2);
  for (std::size_t i = 0; i < a->parameters().size(); ++i) {
    EXPECT_TRUE(at::equal(a->parameters()[i].tensor, b->parameters()[i].tensor));
  }
  EXPECT_FALSE(at::equal(a->parameters()[0].tensor, c->parameters()[0].tensor));
}

TEST(Gpt2, GivesEveryParameterAGradient) {
  const auto model = make_causal_lm(tiny(0.1), 1);
  model->train(true);
  model->loss(random_ids(), random_ids()).backward();
  for (const auto& [name, tensor] : model->parameters()) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    EXPECT_GT(tensor.grad().abs().max().item<float>(), 0.0f) << name;
  }
  model->zero_grad();
  EXPECT_FALSE(model->parameters()[0].tensor.grad().defined());
}

TEST(Gpt2, SeesNoLaterToken) {
  const auto model = make_causal_lm(tiny(), 1);
  at::Tensor ids = random_ids();
  const at::Tensor before = model->logits(ids);
  at::Tensor changed = ids.clone();
  changed.select(1, 11).fill_(3);
  const at::Tensor after = model->logits(changed);
  EXPECT_TRUE(before.narrow(1, 0, 11).allclose(after.narrow(1, 0, 11), 0, 1e-6));
}

TEST(Gpt2, DrawsTheSameDropoutAfterTheSameSeedOnly) {
  const auto model = make_causal_lm(tiny(0.3), 1);
  const at::Tensor ids = random_ids();
  const auto loss = [&](std::uint64_t stream) {
    model->seed_dropout(5, stream);
    return model->loss(ids, ids).item<float>();
  };
  const float without = loss(0);
  model->train(true);
  const float first = loss(0);
  EXPECT_EQ(first, loss(0));
  EXPECT_NE(first, loss(1));
  EXPECT_NE(first, without);
}

TEST(Gpt2, ComputesInBf16NearTheFp32Loss) {
  const auto model = make_causal_lm(tiny(), 1);
  const at::Tensor ids = random_ids();
  const float exact = model->loss(ids, ids).item<float>();
  model->set_precision(nn::Precision::bf16);
  const at::Tensor loss = model->loss(ids, ids);
  EXPECT_NEAR(loss.item<float>(), exact, 0.02);
  loss.backward();
  EXPECT_EQ(model->parameters()[4].tensor.grad().scalar_type(), at::kFloat);
}

TEST(Gpt2, RefusesSequencesOverItsContext) {
  const auto model = make_causal_lm(tiny(), 1);
  EXPECT_THROW(model->logits(at::randint(23, {1, 13}, at::TensorOptions().dtype(at::kLong))), Error);
}

TEST(Gpt2, RefusesBadConfigurationsNamingTheKey) {
  const auto refusal = [](const char* key, const Json& value) {
    Json config = tiny();
    config[key] = value;
    return mobula::refusal([&] { make_causal_lm(config, 1); });
  };
  EXPECT_NE(refusal("n_head", 5).find("n_head"), std::string::npos);
  EXPECT_NE(refusal("n_layer", "two").find("n_layer"), std::string::npos);
  EXPECT_NE(refusal("vocab_size", -1).find("vocab_size"), std::string::npos);
  EXPECT_NE(refusal("activation_function", "snake").find("snake"), std::string::npos);
  EXPECT_NE(refusal("model_type", "gpt3").find("gpt3"), std::string::npos);
}

}  // namespace
}  // namespace mobula::models
