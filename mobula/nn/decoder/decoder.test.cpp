#include "mobula/nn/decoder/decoder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <string>
#include <vector>

#include "mobula/nn/layers/initialization.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {
namespace {

constexpr std::int64_t kVocab = 37, kHidden = 24, kInner = 40;

LinearWeights matrix(const std::string& name, std::int64_t out, std::int64_t in) {
  return {to_array(normal_tensor({out, in}, 0.3, 1, name)), {}};
}

// One layer whose MLP is still missing.
DecoderModel make_model() {
  DecoderModel model;
  model.spec = {.vocab_size = kVocab,
                .hidden = kHidden,
                .num_heads = 2,
                .num_kv_heads = 1,
                .head_dim = 12,
                .inner = kInner,
                .context = 64};
  const auto norm = [](const std::string& name) {
    return NormWeights{to_array(normal_tensor({kHidden}, 0.5, 1, name)), {}};
  };
  model.token_embedding = matrix("embedding", kVocab, kHidden).weight;
  DecoderLayer layer;
  layer.attention_norm = norm("a");
  layer.qkv = {matrix("qkv", 48, kHidden)};
  layer.attention_out = matrix("o", kHidden, kHidden);
  layer.mlp_norm = norm("m");
  layer.attention_scale = 0.3;
  model.layers = {layer};
  model.final_norm = norm("f");
  model.head = matrix("head", kVocab, kHidden);
  return model;
}

void set_mlp(DecoderModel& model, const std::string& name) {
  model.layers[0].gate = matrix(name + "gate", kInner, kHidden);
  model.layers[0].up = matrix(name + "up", kInner, kHidden);
  model.layers[0].down = matrix(name + "down", kHidden, kInner);
}

void set_experts(DecoderModel& model, const std::vector<std::string>& names, std::int64_t num_chosen) {
  DecoderExperts experts;
  experts.router = matrix("router", static_cast<std::int64_t>(names.size()), kHidden);
  experts.num_chosen = num_chosen;
  for (const std::string& name : names) {
    experts.gate.push_back(matrix(name + "gate", kInner, kHidden));
    experts.up.push_back(matrix(name + "up", kInner, kHidden));
    experts.down.push_back(matrix(name + "down", kHidden, kInner));
  }
  model.layers[0].experts = std::move(experts);
}

std::vector<float> logits(const DecoderModel& model, const std::vector<TokenId>& tokens,
                          const DecoderOptions& options = {}) {
  Decoder decoder(model, options);
  KvSequence sequence;
  std::vector<DecoderRow> rows;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    rows.push_back({tokens[i], static_cast<std::int64_t>(i), &sequence, true});
  const auto scores = decoder.forward(rows);
  return {scores.begin(), scores.end()};
}

const std::vector<TokenId> kTokens = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9};

TEST(Decoder, TreatsEqualExpertsAsOneMlp) {
  DecoderModel dense = make_model(), mixed = make_model();
  set_mlp(dense, "x");
  set_experts(mixed, {"x", "x", "x"}, 2);
  const auto wanted = logits(dense, kTokens), got = logits(mixed, kTokens);
  for (std::size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 1e-4);
}

TEST(Decoder, SendsEachTokenToItsLikeliestExpert) {
  DecoderModel first = make_model(), second = make_model(), mixed = make_model();
  set_mlp(first, "x");
  set_mlp(second, "y");
  set_experts(mixed, {"x", "y"}, 1);
  const auto x = logits(first, kTokens), y = logits(second, kTokens), got = logits(mixed, kTokens);
  int num_x = 0;
  for (std::size_t t = 0; t < kTokens.size(); ++t) {
    // Attention comes before the only MLP, so every position's result is that of one of the two.
    const bool is_x = std::abs(got[t * kVocab] - x[t * kVocab]) < 1e-4f;
    num_x += is_x;
    for (std::size_t i = t * kVocab; i < (t + 1) * kVocab; ++i) ASSERT_NEAR(got[i], is_x ? x[i] : y[i], 1e-4);
  }
  EXPECT_GT(num_x, 0);
  EXPECT_LT(num_x, static_cast<int>(kTokens.size()));
}

TEST(Decoder, StaysNearItsOwnResultWithWeightsOf8Bits) {
  DecoderModel model = make_model();
  set_mlp(model, "x");
  const auto wanted = logits(model, kTokens), got = logits(model, kTokens, {.quantize = WeightType::int8});
  float size = 0;
  for (const float v : wanted) size = std::max(size, std::abs(v));
  for (std::size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 0.05f * size);
}

TEST(Decoder, RunsMatricesOfSeveralTypesBesideOneAnother) {
  DecoderModel model = make_model(), mixed = make_model();
  const LinearWeights query = matrix("q", 24, kHidden), key = matrix("k", 12, kHidden),
                      value = matrix("v", 12, kHidden);
  const Array half = query.weight.to(at::kBFloat16);
  model.layers[0].qkv = {{half.to(at::kFloat), {}}, key, value};
  mixed.layers[0].qkv = {{half, {}}, key, value};
  set_mlp(model, "x");
  set_mlp(mixed, "x");
  const auto wanted = logits(model, kTokens), got = logits(mixed, kTokens);
  float size = 0;
  for (const float v : wanted) size = std::max(size, std::abs(v));
  for (std::size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 0.02f * size);
}

TEST(Decoder, GivesTheSameOnEverySetOfKernelsWithinRounding) {
  DecoderModel model = make_model();
  set_mlp(model, "x");
  const auto wanted = logits(model, kTokens, {.kernels = find_cpu_kernels("baseline")});
  for (const char* name : {"avx2", "avx512", "amx"}) {
    const CpuKernels* kernels = find_cpu_kernels(name);
    if (kernels == nullptr) continue;
    const auto got = logits(model, kTokens, {.kernels = kernels});
    for (std::size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 1e-4) << name;
  }
}

TEST(Decoder, GivesTheSameScoresWithTheMemoryOfALongPromptGivenBack) {
  DecoderModel model = make_model();
  set_mlp(model, "mlp");
  model.spec.context = 256;
  std::vector<TokenId> tokens;
  for (TokenId i = 0; i < 200; ++i) tokens.push_back((i * i + 3) % kVocab);
  const std::vector<float> together = logits(model, tokens);
  // 150 rows, then few, then many again.
  Decoder decoder(model);
  KvSequence sequence;
  std::size_t read = 0;
  for (const std::size_t count : {150, 1, 3, 46}) {
    std::vector<DecoderRow> rows;
    for (std::size_t i = 0; i < count; ++i, ++read) {
      rows.push_back({tokens[read], static_cast<std::int64_t>(read), &sequence, true});
    }
    const auto scores = decoder.forward(rows);
    const auto wanted = together.begin() + static_cast<std::ptrdiff_t>((read - count) * kVocab);
    ASSERT_TRUE(std::equal(scores.begin(), scores.end(), wanted)) << read;
  }
}

}  // namespace
}  // namespace mobula::nn
