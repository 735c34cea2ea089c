#include "mobula/nn/generate/sampler.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "mobula/base/testing/refusal.hpp"

namespace mobula::nn {
namespace {

const std::vector<float> kLogits = {0.0f, 2.0f, 1.0f, -1.0f, 1.9f};

// Draws many times under different seeds and counts.
std::map<TokenId, int> draw(SamplingOptions options, int times = 4000) {
  std::map<TokenId, int> counts;
  for (int i = 0; i < times; ++i) {
    options.seed = static_cast<std::uint64_t>(i);
    ++counts[Sampler(options, {}).sample(kLogits)];
  }
  return counts;
}

TEST(Sampler, TakesTheLikeliestAtTemperatureZero) {
  EXPECT_EQ(Sampler({.temperature = 0}, {}).sample(kLogits), 1);
}

TEST(Sampler, DrawsInProportionToTheProbabilities) {
  double total = 0;
  for (const float x : kLogits) total += std::exp(x / 0.7);
  const auto counts = draw({.temperature = 0.7});
  for (std::size_t id = 0; id < kLogits.size(); ++id) {
    EXPECT_NEAR(counts.at(static_cast<TokenId>(id)) / 4000.0, std::exp(kLogits[id] / 0.7) / total, 0.03) << id;
  }
}

TEST(Sampler, DrawsTheSameUnderTheSameSeed) {
  Sampler a({.seed = 5}, {}), b({.seed = 5}, {});
  for (int i = 0; i < 20; ++i) {
    const TokenId id = a.sample(kLogits);
    EXPECT_EQ(id, b.sample(kLogits));
    a.accept(id);
    b.accept(id);
  }
}

TEST(Sampler, KeepsTheKLikeliest) {
  const auto counts = draw({.top_k = 2});
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_TRUE(counts.contains(1) && counts.contains(4));
}

TEST(Sampler, KeepsTheNucleus) {
  // Probabilities: 0.41 (1), 0.37 (4), 0.15 (2), 0.055 (0), 0.02 (3).
  EXPECT_EQ(draw({.top_p = 0.3}).size(), 1u);
  EXPECT_EQ(draw({.top_p = 0.7}).size(), 2u);
  EXPECT_EQ(draw({.top_p = 0.9}).size(), 3u);
}

TEST(Sampler, KeepsWhatIsLikelyEnoughBesideTheLikeliest) {
  EXPECT_EQ(draw({.min_p = 0.5}).size(), 2u);
  EXPECT_EQ(draw({.min_p = 0.3}).size(), 3u);
  EXPECT_EQ(draw({.min_p = 1.0}).size(), 1u);
}

TEST(Sampler, KeepsTypicalTokens) {
  // Entropy 1.23: token 4 (surprise 0.99) and 1 (0.89) are nearer to it than 2 (1.89).
  const auto counts = draw({.typical_p = 0.5});
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_TRUE(counts.contains(4) && counts.contains(1));
}

TEST(Sampler, AppliesBiasAndPenalties) {
  EXPECT_EQ(Sampler({.temperature = 0, .logit_bias = {{3, 100.0}}}, {}).sample(kLogits), 3);
  EXPECT_EQ(Sampler({.temperature = 0, .logit_bias = {{1, -100.0}}}, {}).sample(kLogits), 4);
  const std::vector<TokenId> prompt = {1};
  EXPECT_EQ(Sampler({.temperature = 0, .repetition_penalty = 1.2}, prompt).sample(kLogits), 4);
  EXPECT_EQ(Sampler({.temperature = 0, .presence_penalty = 0.2}, prompt).sample(kLogits),
            1);  // the prompt doesn't count
  Sampler presence({.temperature = 0, .presence_penalty = 0.2}, prompt);
  presence.accept(1);
  EXPECT_EQ(presence.sample(kLogits), 4);
  Sampler frequency({.temperature = 0, .frequency_penalty = 0.06}, prompt);
  frequency.accept(1);
  EXPECT_EQ(frequency.sample(kLogits), 1);
  frequency.accept(1);
  EXPECT_EQ(frequency.sample(kLogits), 4);
}

TEST(Sampler, RepeatsNoNgram) {
  const std::vector<TokenId> prompt = {2, 1, 3, 2};
  EXPECT_EQ(Sampler({.temperature = 0, .no_repeat_ngram = 2}, prompt).sample(kLogits), 4);  // "2 1" stood there
  EXPECT_EQ(Sampler({.temperature = 0, .no_repeat_ngram = 3}, prompt).sample(kLogits), 1);
  const std::vector<TokenId> all = {0, 1, 2, 3, 4};
  EXPECT_EQ(Sampler({.temperature = 0, .no_repeat_ngram = 1}, all).sample(kLogits),
            1);  // nothing is left: the model counts
}

TEST(Sampler, ReportsTheLikeliestInOrder) {
  const auto top = top_logprobs(kLogits, 3.0, 3);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].first, 1);
  EXPECT_DOUBLE_EQ(top[0].second, -1.0);
  EXPECT_EQ(top[1].first, 4);
  EXPECT_EQ(top[2].first, 2);
  EXPECT_EQ(top_logprobs(kLogits, 3.0, 100).size(), kLogits.size());
}

TEST(SamplingOptions, NameTheFieldThatIsOutOfRange) {
  const auto refusal = [](const SamplingOptions& options) { return mobula::refusal([&] { options.validate(); }); };
  EXPECT_EQ(refusal({}), "accepted");
  EXPECT_NE(refusal({.temperature = -1}).find("temperature"), std::string::npos);
  EXPECT_NE(refusal({.temperature = std::nan("")}).find("temperature"), std::string::npos);
  EXPECT_NE(refusal({.top_p = 0}).find("top_p"), std::string::npos);
  EXPECT_NE(refusal({.min_p = 1.5}).find("min_p"), std::string::npos);
  EXPECT_NE(refusal({.typical_p = 2}).find("typical_p"), std::string::npos);
  EXPECT_NE(refusal({.repetition_penalty = 0}).find("repetition_penalty"), std::string::npos);
}

}  // namespace
}  // namespace mobula::nn
