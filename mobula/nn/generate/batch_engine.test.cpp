#include "mobula/nn/generate/causal_lm_engine.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/nn/layers/initialization.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {
namespace {

// A decoder of random weights with grouped heads and rotary positions. Only its decode side is there.
class RandomLm final : public CausalLm {
 public:
  explicit RandomLm(at::ScalarType type, std::vector<TokenId> eos_ids = {}) {
    info_ = {.family = "random",
             .vocab_size = 61,
             .context = 200,
             .num_layers = 2,
             .num_heads = 4,
             .num_kv_heads = 2,
             .head_dim = 8,
             .hidden = 32,
             .eos_ids = std::move(eos_ids)};
    const auto tensor = [&](const char* name, std::int64_t rows, std::int64_t columns) {
      return to_array(normal_tensor({rows, columns}, 0.3, 1, name).to(type));
    };
    const auto norm = [&](const char* name) { return NormWeights{to_array(normal_tensor({32}, 0.5, 1, name)), {}}; };
    model_.spec = {
        .vocab_size = 61, .hidden = 32, .num_heads = 4, .num_kv_heads = 2, .head_dim = 8, .inner = 48, .context = 200};
    model_.token_embedding = tensor("embedding", 61, 32);
    for (int i = 0; i < 2; ++i) {
      DecoderLayer layer;
      layer.attention_norm = norm("a");
      layer.qkv = {{tensor("q", 32, 32), {}}, {tensor("k", 16, 32), {}}, {tensor("v", 16, 32), {}}};
      layer.attention_out = {tensor("o", 32, 32), {}};
      layer.mlp_norm = norm("m");
      layer.gate = {tensor("gate", 48, 32), {}};
      layer.up = {tensor("up", 48, 32), {}};
      layer.down = {tensor("down", 32, 48), {}};
      layer.attention_scale = 0.35;
      layer.rotary = {.dim = 8, .frequencies = {1.0f, 0.1f, 0.01f, 0.001f}};
      layer.window = i == 1 ? 40 : 0;
      if (i == 1) {
        DecoderExperts experts;
        experts.router = {tensor("router", 5, 32), {}};
        experts.shared_gate = {tensor("share", 1, 32), {}};
        for (const char* name : {"e0", "e1", "e2", "e3", "e4"}) {
          const std::string base = name;
          experts.gate.push_back({tensor((base + "g").c_str(), 24, 32), {}});
          experts.up.push_back({tensor((base + "u").c_str(), 24, 32), {}});
          experts.down.push_back({tensor((base + "d").c_str(), 32, 24), {}});
        }
        layer.experts = std::move(experts);
      }
      model_.layers.push_back(layer);
    }
    model_.final_norm = norm("f");
    model_.head = {tensor("head", 61, 32), {}};
  }
  const CausalLmInfo& info() const override { return info_; }
  Json config() const override { return {}; }
  at::Tensor logits(const at::Tensor&) override { return {}; }
  at::Tensor loss(const at::Tensor&, const at::Tensor&) override { return {}; }
  DecoderModel decoder_model() const override { return model_; }

 private:
  CausalLmInfo info_;
  DecoderModel model_;
};

struct Answer {
  std::vector<TokenId> ids;
  std::vector<double> logprobs, prompt_logprobs;
  std::vector<std::pair<TokenId, double>> top;
  FinishReason finish = FinishReason::none;
  int events = 0;
  bool operator==(const Answer&) const = default;
};

GenerationRequest request_for(std::vector<TokenId> prompt, SamplingOptions sampling, Answer& answer) {
  return {.prompt = std::move(prompt), .sampling = sampling, .on_token = [&answer](const TokenEvent& event) {
            EXPECT_EQ(answer.finish, FinishReason::none);
            ++answer.events;
            if (event.id >= 0) {
              answer.ids.push_back(event.id);
              answer.logprobs.push_back(event.logprob);
            }
            if (!event.prompt_logprobs.empty())
              answer.prompt_logprobs = {event.prompt_logprobs.begin() + 1, event.prompt_logprobs.end()};
            answer.top.insert(answer.top.end(), event.top_logprobs.begin(), event.top_logprobs.end());
            answer.finish = event.finish;
            return true;
          }};
}

std::vector<TokenId> random_prompt(std::size_t length, std::uint64_t stream) {
  Random random(3, stream);
  std::vector<TokenId> ids(length);
  for (TokenId& id : ids) id = static_cast<TokenId>(random.below(61));
  return ids;
}

Answer alone(at::ScalarType type, const std::vector<TokenId>& prompt, const SamplingOptions& sampling,
             const EngineOptions& options = {}) {
  const auto engine = make_generation_engine(std::make_shared<RandomLm>(type), options);
  Answer answer;
  engine->submit(request_for(prompt, sampling, answer));
  while (engine->step()) {
  }
  return answer;
}

TEST(BatchEngine, GivesTheSameBitsAloneInABatchInPiecesAndFromThePrefixCache) {
  struct Kind {
    at::ScalarType type;
    std::optional<WeightType> quantize;
  };
  for (const auto& [type, quantize] : {Kind{at::kFloat, {}}, Kind{at::kBFloat16, {}},
                                       Kind{at::kFloat, WeightType::int8}, Kind{at::kBFloat16, WeightType::int4}}) {
    constexpr std::size_t kRequests = 24;
    std::vector<std::vector<TokenId>> prompts;
    std::vector<SamplingOptions> sampling;
    std::vector<Answer> expected;
    const auto beginning = random_prompt(70, 99);
    for (std::size_t i = 0; i < kRequests; ++i) {
      prompts.push_back(i % 3 == 0 ? beginning : std::vector<TokenId>{});
      const auto rest = random_prompt(1 + i * 5 % 77, i);
      prompts.back().insert(prompts.back().end(), rest.begin(), rest.end());
      sampling.push_back({.max_tokens = 3 + i % 9,
                          .temperature = i % 2 == 0 ? 0.8 : 0.0,
                          .seed = i,
                          .logprobs = 2,
                          .prompt_logprobs = i % 4 == 1});
      expected.push_back(alone(type, prompts[i], sampling[i], {.quantize = quantize, .prefix_cache = false}));
      EXPECT_EQ(expected[i].ids.size(), sampling[i].max_tokens);
      EXPECT_EQ(expected[i].finish, FinishReason::length);
    }
    for (EngineOptions options : {EngineOptions{}, EngineOptions{.max_batch = 5, .max_step_tokens = 17},
                                  EngineOptions{.max_batch = 3, .prefix_cache = false}}) {
      options.quantize = quantize;
      const auto engine = make_generation_engine(std::make_shared<RandomLm>(type), options);
      for (int round = 0; round < 2; ++round) {  // the second finds the first's prefixes
        std::vector<Answer> answers(kRequests);
        for (std::size_t i = 0; i < kRequests; ++i) {
          engine->submit(request_for(prompts[i], sampling[i], answers[i]));
          if (i % 4 == 0) engine->step();  // others join while these run
        }
        while (engine->step()) {
        }
        EXPECT_EQ(engine->num_requests(), 0u);
        for (std::size_t i = 0; i < kRequests; ++i) {
          EXPECT_EQ(answers[i].ids, expected[i].ids) << i;
          EXPECT_EQ(answers[i].logprobs, expected[i].logprobs) << i;
          EXPECT_EQ(answers[i].prompt_logprobs, expected[i].prompt_logprobs) << i;
          EXPECT_EQ(answers[i].top, expected[i].top) << i;
        }
      }
    }
  }
}

TEST(BatchEngine, ScoresThePromptAsIfItHadWrittenIt) {
  const auto prompt = random_prompt(9, 1);
  const Answer written = alone(at::kFloat, prompt, {.max_tokens = 20, .temperature = 1, .seed = 4});
  std::vector<TokenId> all = prompt;
  all.insert(all.end(), written.ids.begin(), written.ids.end());
  const Answer scored = alone(at::kFloat, all, {.max_tokens = 0, .prompt_logprobs = true});
  ASSERT_EQ(scored.prompt_logprobs.size(), all.size() - 1);
  EXPECT_EQ(std::vector<double>(scored.prompt_logprobs.begin() + 8, scored.prompt_logprobs.end()), written.logprobs);
  EXPECT_EQ(scored.finish, FinishReason::length);
  EXPECT_EQ(scored.events, 1);
}

TEST(BatchEngine, ReportsTheChosenTokenAmongTheLikeliestAtTemperatureZero) {
  const Answer answer = alone(at::kFloat, {1, 2, 3}, {.max_tokens = 4, .temperature = 0, .logprobs = 3});
  ASSERT_EQ(answer.top.size(), 12u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answer.top[3 * i].first, answer.ids[i]);
    EXPECT_EQ(answer.top[3 * i].second, answer.logprobs[i]);
    EXPECT_GE(answer.top[3 * i].second, answer.top[3 * i + 1].second);
  }
}

TEST(BatchEngine, StopsAtTheEndOfTextUnlessToldToGoOn) {
  const TokenId first = alone(at::kFloat, {5, 6}, {.max_tokens = 1, .temperature = 0}).ids[0];
  const auto run = [&](bool ignore_eos) {
    const auto engine = make_generation_engine(std::make_shared<RandomLm>(at::kFloat, std::vector<TokenId>{first}));
    Answer answer;
    engine->submit(request_for({5, 6}, {.max_tokens = 5, .temperature = 0, .ignore_eos = ignore_eos}, answer));
    while (engine->step()) {
    }
    return answer;
  };
  EXPECT_EQ(run(false).finish, FinishReason::stop);
  EXPECT_TRUE(run(false).ids.empty());
  EXPECT_EQ(run(true).finish, FinishReason::length);
  EXPECT_EQ(run(true).ids.size(), 5u);
}

TEST(BatchEngine, EndsWhereTheContextIsFull) {
  const Answer answer = alone(at::kFloat, random_prompt(190, 2), {.max_tokens = 100, .temperature = 0});
  EXPECT_EQ(answer.ids.size(), 10u);
  EXPECT_EQ(answer.finish, FinishReason::length);
}

TEST(BatchEngine, EndsARequestWhoseCallbackSaysSo) {
  const auto engine = make_generation_engine(std::make_shared<RandomLm>(at::kFloat));
  std::vector<FinishReason> seen;
  engine->submit({.prompt = {1}, .sampling = {.max_tokens = 9}, .on_token = [&](const TokenEvent& event) {
                    seen.push_back(event.finish);
                    return seen.size() < 2;
                  }});
  while (engine->step()) {
  }
  EXPECT_EQ(seen, (std::vector{FinishReason::none, FinishReason::none, FinishReason::stop}));
}

TEST(BatchEngine, CancelsQueuedAndRunningRequests) {
  const auto engine = make_generation_engine(std::make_shared<RandomLm>(at::kFloat), {.max_batch = 1});
  Answer running, queued, untouched;
  const auto first = engine->submit(request_for({1}, {.max_tokens = 50}, running));
  const auto second = engine->submit(request_for({2}, {.max_tokens = 50}, queued));
  engine->submit(request_for({3}, {.max_tokens = 4}, untouched));
  engine->step();
  EXPECT_EQ(engine->num_requests(), 3u);
  std::thread([&] {
    engine->cancel(first);
    engine->cancel(second);
    engine->cancel(12345);
  }).join();
  while (engine->step()) {
  }
  EXPECT_EQ(running.finish, FinishReason::cancelled);
  EXPECT_EQ(running.ids.size(), 1u);
  EXPECT_EQ(queued.finish, FinishReason::cancelled);
  EXPECT_EQ(untouched.ids.size(), 4u);
  EXPECT_FALSE(engine->step());
}

TEST(BatchEngine, LetsRequestsWaitForCache) {
  // Two layers of two heads with 16 padded floats: 32 * (8 + 16) * 4 * 4 bytes a block.
  const std::size_t block = 32 * 24 * 4 * sizeof(float);
  const auto engine = make_generation_engine(std::make_shared<RandomLm>(at::kFloat), {.cache_bytes = 4 * block});
  std::vector<Answer> answers(5);
  for (Answer& answer : answers) engine->submit(request_for(random_prompt(60, 1), {.max_tokens = 10}, answer));
  while (engine->step()) {
  }
  for (const Answer& answer : answers) EXPECT_EQ(answer.ids.size(), 10u);
  Answer none;
  EXPECT_THROW(engine->submit(request_for(random_prompt(150, 1), {.max_tokens = 10}, none)), Error);
}

TEST(BatchEngine, RefusesWhatItCannotDo) {
  const auto engine = make_generation_engine(std::make_shared<RandomLm>(at::kFloat));
  const auto refusal = [&](std::vector<TokenId> prompt, SamplingOptions sampling) {
    return mobula::refusal([&] { engine->submit({.prompt = std::move(prompt), .sampling = std::move(sampling)}); });
  };
  EXPECT_NE(refusal({}, {}).find("empty"), std::string::npos);
  EXPECT_NE(refusal({1, 61}, {}).find("61"), std::string::npos);
  EXPECT_NE(refusal({-1}, {}).find("-1"), std::string::npos);
  EXPECT_NE(refusal(random_prompt(200, 1), {}).find("200"), std::string::npos);
  EXPECT_NE(refusal({1}, {.temperature = -1}).find("temperature"), std::string::npos);
  EXPECT_NE(refusal({1}, {.logit_bias = {{61, 1.0}}}).find("logit_bias"), std::string::npos);
  EXPECT_EQ(refusal(random_prompt(200, 1), {.max_tokens = 0}), "accepted");
  EXPECT_THROW(make_generation_engine(std::make_shared<RandomLm>(at::kFloat), {.max_batch = 0}), Error);
}

}  // namespace
}  // namespace mobula::nn
