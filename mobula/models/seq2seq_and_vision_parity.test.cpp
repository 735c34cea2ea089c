// T5 and ViT against transformers: outputs, losses, gradients, and what we write, loaded by transformers.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/models/t5/engine.hpp"
#include "mobula/models/t5/load.hpp"
#include "mobula/models/testing/reference.hpp"
#include "mobula/models/vit/load.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/safetensors_writer.hpp"

namespace mobula::models {
namespace {

namespace fs = std::filesystem;
using namespace testing_reference;

class OtherParity : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory("mobula-others");
    ASSERT_EQ(reference({"make-others", folder_->path().string(), std::to_string(drawn_seed())}), 0);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static std::vector<fs::path> cases(const std::string& prefix) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(folder_->path())) {
      if (entry.is_directory() && entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
    }
    EXPECT_FALSE(found.empty());
    return found;
  }

  static void expect_gradients(const nn::Module& model, const Expected& expected) {
    for (const auto& [name, tensor] : model.parameters()) {
      const at::Tensor gradient = expected.tensor("grad." + name);
      ASSERT_TRUE(tensor.grad().defined()) << name;
      const double scale = std::max(gradient.abs().max().item<double>(), 1e-3);
      EXPECT_LE(difference(tensor.grad(), gradient) / scale, tolerance_of(expected, "grad_")) << name;
    }
  }

  static inline TemporaryDirectory* folder_ = nullptr;
};

TEST_F(OtherParity, T5GivesTransformersLogitsLossAndGradients) {
  for (const fs::path& path : cases("t5")) {
    SCOPED_TRACE(path.filename().string());
    const Expected expected(path.string() + ".expected.safetensors");
    const auto model = load_t5(path, {.trainable = true});
    const at::Tensor ids = expected.tensor("ids"), mask = expected.tensor("mask"), targets = expected.tensor("targets");
    const at::Tensor logits = model->decode(model->encode(ids, mask), mask, expected.tensor("decoder_ids"));
    const double tolerance = tolerance_of(expected);
    EXPECT_LE(difference(logits.detach(), expected.tensor("logits")), tolerance);
    const at::Tensor loss = model->loss(ids, mask, targets);
    EXPECT_NEAR(loss.item<double>(), expected.tensor("loss").item<double>(), tolerance);
    loss.backward();
    expect_gradients(*model, expected);
    const auto rounded = load_t5(path, {.type = at::kBFloat16});
    const at::Tensor near = rounded->decode(rounded->encode(ids, mask), mask, expected.tensor("decoder_ids"));
    EXPECT_LE(difference(near.detach(), expected.tensor("logits")),
              2.0 * expected.tensor("bf16_error").item<double>() +
                  0.01 * expected.tensor("logits").abs().max().item<double>());
  }
}

TEST_F(OtherParity, T5DecodesTokenByTokenWithItsCacheAsTransformersDoes) {
  const at::NoGradGuard no_grad;
  for (const fs::path& path : cases("t5")) {
    SCOPED_TRACE(path.filename().string());
    const Expected expected(path.string() + ".expected.safetensors");
    const double tolerance = tolerance_of(expected);
    const auto model = load_t5(path);
    const at::Tensor mask = expected.tensor("mask"), ids = expected.tensor("decoder_ids");
    const at::Tensor wanted = expected.tensor("steps"), encoded = model->encode(expected.tensor("ids"), mask);
    T5Cache cache = model->begin(encoded, mask);
    for (std::int64_t t = 0; t < ids.size(1); ++t) {
      const at::Tensor step = model->advance(cache, ids.narrow(1, t, 1));
      EXPECT_LE(difference(step, wanted.narrow(1, t, 1)), tolerance) << t;
    }
    // Some at once, then the others.
    T5Cache in_pieces = model->begin(encoded, mask);
    const at::Tensor begin = model->advance(in_pieces, ids.narrow(1, 0, 2));
    const at::Tensor rest = model->advance(in_pieces, ids.narrow(1, 2, ids.size(1) - 2));
    EXPECT_LE(difference(at::cat({begin, rest}, 1), wanted), tolerance);
  }
}

TEST_F(OtherParity, T5WritesTransformersGreedyText) {
  for (const fs::path& path : cases("t5")) {
    SCOPED_TRACE(path.filename().string());
    const Expected expected(path.string() + ".expected.safetensors");
    const at::Tensor ids = expected.tensor("ids"), mask = expected.tensor("mask"), greedy = expected.tensor("greedy");
    const at::Tensor logprobs = expected.tensor("greedy.logprobs");
    const auto engine = make_t5_engine(load_t5(path), {.max_batch = 2});
    // All at once, so that some wait for others.
    std::vector<std::vector<nn::TokenEvent>> answers(static_cast<std::size_t>(ids.size(0)));
    for (std::int64_t b = 0; b < ids.size(0); ++b) {
      const at::Tensor real = ids[b].masked_select(mask[b]).contiguous();
      engine->submit(
          {.prompt = {real.const_data_ptr<std::int64_t>(), real.const_data_ptr<std::int64_t>() + real.numel()},
           .sampling = {.max_tokens = static_cast<std::size_t>(greedy.size(1)), .temperature = 0, .ignore_eos = true},
           .on_token = [&answers, b](const nn::TokenEvent& event) {
             answers[static_cast<std::size_t>(b)].push_back(event);
             return true;
           }});
    }
    while (engine->step()) {
    }
    EXPECT_EQ(engine->num_requests(), 0u);
    for (std::int64_t b = 0; b < ids.size(0); ++b) {
      const auto& answer = answers[static_cast<std::size_t>(b)];
      ASSERT_EQ(answer.size(), static_cast<std::size_t>(greedy.size(1)));
      EXPECT_EQ(answer.back().finish, nn::FinishReason::length);
      for (std::size_t t = 0; t < answer.size(); ++t) {
        const auto at = static_cast<std::int64_t>(t);
        EXPECT_NEAR(answer[t].logprob, logprobs[b][at].item<double>(), 2 * tolerance_of(expected)) << b << " " << t;
        // Behind two tokens that rounding can't tell apart the texts may differ.
        if (answer[t].id != greedy[b][at].item<std::int64_t>()) break;
      }
    }
  }
}

TEST(T5Engine, EndsAnswersAndRefusesWhatItCannotDo) {
  const Json config = {{"model_type", "t5"}, {"vocab_size", 9}, {"d_model", 6},   {"d_kv", 3},
                       {"d_ff", 5},          {"num_layers", 1}, {"num_heads", 2}, {"eos_token_id", 4}};
  nn::FreshParameters source(3);
  const auto model = std::make_shared<T5>(T5Config::from_json(config), source);
  const auto engine = make_t5_engine(model, {.max_tokens = 6});
  const auto finish_of = [&](nn::SamplingOptions sampling, std::vector<nn::TokenId> prompt, std::size_t* count) {
    nn::FinishReason finish = nn::FinishReason::none;
    *count = 0;
    engine->submit({.prompt = std::move(prompt), .sampling = std::move(sampling), .on_token = [&](const auto& event) {
                      *count += event.id >= 0;
                      finish = event.finish;
                      return true;
                    }});
    while (engine->step()) {
    }
    return finish;
  };
  std::size_t count = 0;
  EXPECT_EQ(finish_of({.max_tokens = 3, .logit_bias = {{4, 1e4}}}, {1, 2}, &count), nn::FinishReason::stop);
  EXPECT_EQ(count, 0u);
  EXPECT_EQ(finish_of({.max_tokens = 9, .logit_bias = {{5, 1e4}}}, {1, 2}, &count), nn::FinishReason::length);
  EXPECT_EQ(count, 4u);  // as many as the context leaves room for
  EXPECT_NE(refusal([&] { engine->submit({.prompt = {9}}); }).find("token id 9"), std::string::npos);
  EXPECT_NE(refusal([&] { engine->submit({.prompt = {1, 2, 3, 4, 5, 6}}); }).find("no room"), std::string::npos);
  EXPECT_NE(refusal([&] { engine->submit({.prompt = {1}, .adapter = "x"}); }).find("adapter"), std::string::npos);
  EXPECT_NE(refusal([&] { engine->submit({.prompt = {1}, .sampling = {.prompt_logprobs = true}}); }).find("encoder"),
            std::string::npos);

  std::vector<nn::FinishReason> reasons;
  const auto remember = [&](const nn::TokenEvent& event) {
    if (event.finish != nn::FinishReason::none) reasons.push_back(event.finish);
    return true;
  };
  const auto running =
      engine->submit({.prompt = {1}, .sampling = {.max_tokens = 4, .ignore_eos = true}, .on_token = remember});
  engine->step();
  const auto queued = engine->submit({.prompt = {1}, .on_token = remember});
  engine->cancel(running);
  engine->cancel(queued);
  engine->step();
  EXPECT_EQ(reasons, std::vector(2, nn::FinishReason::cancelled));
  EXPECT_EQ(engine->num_requests(), 0u);
}

TEST_F(OtherParity, T5ReadsTextsPaddedOnTheLeft) {
  const at::NoGradGuard no_grad;
  for (const fs::path& path : cases("t5")) {
    SCOPED_TRACE(path.filename().string());
    const Expected expected(path.string() + ".expected.safetensors");
    const auto model = load_t5(path);
    const at::Tensor mask = expected.tensor("left.mask");
    const at::Tensor logits =
        model->decode(model->encode(expected.tensor("left.ids"), mask), mask, expected.tensor("left.decoder_ids"));
    EXPECT_LE(difference(logits, expected.tensor("left.logits")), tolerance_of(expected, "left."));
  }
}

TEST_F(OtherParity, VitGivesTransformersLogitsLossAndGradients) {
  for (const fs::path& path : cases("ViT")) {
    SCOPED_TRACE(path.filename().string());
    const Expected expected(path.string() + ".expected.safetensors");
    const auto model = load_vit(path, {.trainable = true});
    const at::Tensor pixels = expected.tensor("pixels");
    const double tolerance = tolerance_of(expected);
    EXPECT_LE(difference(model->logits(pixels).detach(), expected.tensor("logits")), tolerance);
    const auto rounded = load_vit(path, {.type = at::kBFloat16});
    EXPECT_LE(difference(rounded->logits(pixels).detach(), expected.tensor("logits")),
              2.0 * expected.tensor("bf16_error").item<double>() +
                  0.01 * expected.tensor("logits").abs().max().item<double>());
    if (!model->description().classifies) continue;
    const at::Tensor loss = model->loss(pixels, expected.tensor("targets"));
    EXPECT_NEAR(loss.item<double>(), expected.tensor("loss").item<double>(), tolerance);
    loss.backward();
    expect_gradients(*model, expected);
  }
}

TEST_F(OtherParity, WritesCheckpointsThatTransformersLoads) {
  std::vector<std::string> arguments = {"check-others"};
  const at::NoGradGuard no_grad;
  for (const fs::path& path : cases("t5")) {
    const Expected expected(path.string() + ".expected.safetensors");
    nn::FreshParameters source(3);
    const T5Config config = T5Config::from_json(load_t5(path)->config());
    T5 model(config, source);
    const fs::path out = folder_->path() / (path.filename().string() + "-ours");
    save_t5(model, out);
    const at::Tensor ids = expected.tensor("ids").clone(), decoder_ids = expected.tensor("decoder_ids").clone();
    nn::write_safetensors(
        out / "ours.safetensors",
        {{"ids", ids}, {"decoder_ids", decoder_ids}, {"logits", model.decode(model.encode(ids, {}), {}, decoder_ids)}});
    arguments.push_back(out.string());
  }
  for (const fs::path& path : cases("ViT")) {
    const Expected expected(path.string() + ".expected.safetensors");
    nn::FreshParameters source(3);
    Vit model(VitConfig::from_json(load_vit(path)->config()), source);
    const fs::path out = folder_->path() / (path.filename().string() + "-ours");
    save_vit(model, out);
    const at::Tensor pixels = expected.tensor("pixels").clone();
    nn::write_safetensors(out / "ours.safetensors", {{"pixels", pixels}, {"logits", model.logits(pixels)}});
    arguments.push_back(out.string());
  }
  EXPECT_EQ(reference(arguments), 0);
}

TEST(VitConfig, IsRefusedNamingTheKey) {
  const auto refusal = [](const char* key, const Json& value) {
    Json config = {{"model_type", "vit"}, {"hidden_size", 6}, {"num_attention_heads", 2}};
    config[key] = value;
    return mobula::refusal([&] { VitConfig::from_json(config); });
  };
  EXPECT_EQ(refusal("image_size", {32, 48}), "accepted");
  EXPECT_NE(refusal("image_size", {32, 48, 3}).find("image_size"), std::string::npos);
  EXPECT_NE(refusal("patch_size", "big").find("patch_size"), std::string::npos);
  EXPECT_NE(refusal("patch_size", 500).find("patch_size"), std::string::npos);
  EXPECT_NE(refusal("hidden_size", 7).find("hidden_size"), std::string::npos);
  EXPECT_NE(refusal("architectures", {"ViTMAEModel"}).find("ViTMAEModel"), std::string::npos);
}

}  // namespace
}  // namespace mobula::models
