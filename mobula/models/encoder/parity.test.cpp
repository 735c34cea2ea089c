// BERT and RoBERTa with each of their heads against transformers, on padded batches: outputs, losses, gradients, and what we
// write, loaded by transformers.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/models/encoder/registry.hpp"
#include "mobula/models/encoder/sentence_embedding.hpp"
#include "mobula/models/testing/reference.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/safetensors_writer.hpp"

namespace mobula::models {
namespace {

namespace fs = std::filesystem;
using namespace testing_reference;

class EncoderParity : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory("mobula-encoders");
    ASSERT_EQ(reference({"make-encoders", folder_->path().string(), std::to_string(drawn_seed())}), 0);
    for (const auto& entry : fs::directory_iterator(folder_->path())) {
      if (entry.is_directory()) cases_.push_back(entry.path());
    }
    ASSERT_EQ(cases_.size(), 8u);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static inline TemporaryDirectory* folder_ = nullptr;
  static inline std::vector<fs::path> cases_;
};

// What stands at padding means nothing.
at::Tensor real_part(const at::Tensor& output, const at::Tensor& mask_BT) {
  return output.dim() == 3 ? output.mul(mask_BT.unsqueeze(-1).to(at::kFloat)) : output;
}

TEST_F(EncoderParity, GivesTransformersOutputsLossesAndGradients) {
  for (const fs::path& path : cases_) {
    SCOPED_TRACE(path.filename().string());
    const Expected expected(path.string() + ".expected.safetensors");
    const auto model = load_encoder(path, {.trainable = true});
    const EncoderInput input{expected.tensor("ids"), expected.tensor("mask"), {}};
    const at::Tensor wanted = real_part(expected.tensor("logits"), input.mask_BT);
    const double tolerance = tolerance_of(expected);
    EXPECT_LE(difference(real_part(model->logits(input), input.mask_BT).detach(), wanted), tolerance);

    const auto rounded = load_encoder(path, {.type = at::kBFloat16});
    const at::Tensor near = real_part(rounded->logits(input).detach().to(at::kFloat), input.mask_BT);
    EXPECT_LE(difference(near, wanted),
              2.0 * expected.tensor("bf16_error").item<double>() + 0.01 * wanted.abs().max().item<double>());
    if (model->description().task == EncoderTask::features) continue;

    const at::Tensor loss = model->loss(input, expected.tensor("targets"));
    EXPECT_NEAR(loss.item<double>(), expected.tensor("loss").item<double>(), tolerance);
    loss.backward();
    for (const auto& [name, tensor] : model->parameters()) {
      const at::Tensor gradient = expected.tensor("grad." + name);
      ASSERT_TRUE(tensor.grad().defined()) << name;
      // A key's bias moves all scores of a query alike: its gradient is zero up to rounding.
      const double scale = std::max(gradient.abs().max().item<double>(), 1e-3);
      EXPECT_LE(difference(tensor.grad(), gradient) / scale, tolerance_of(expected, "grad_")) << name;
    }
  }
}

TEST_F(EncoderParity, GivesTransformersOutputsOfBatchesPaddedOnTheLeft) {
  const at::NoGradGuard no_grad;
  for (const fs::path& path : cases_) {
    SCOPED_TRACE(path.filename().string());
    const Expected expected(path.string() + ".expected.safetensors");
    const auto model = load_encoder(path);
    const EncoderInput input{expected.tensor("left.ids"), expected.tensor("left.mask"), {}};
    const at::Tensor wanted = real_part(expected.tensor("left.logits"), input.mask_BT);
    EXPECT_LE(difference(real_part(model->logits(input), input.mask_BT), wanted), tolerance_of(expected, "left."));
  }
}

TEST_F(EncoderParity, WritesCheckpointsThatTransformersLoads) {
  std::vector<std::string> arguments = {"check-encoders"};
  for (const fs::path& path : cases_) {
    const Expected expected(path.string() + ".expected.safetensors");
    const auto model = make_encoder(load_encoder(path)->config(), 3);
    const fs::path out = folder_->path() / (path.filename().string() + "-ours");
    save_encoder(*model, out);
    const at::NoGradGuard no_grad;
    const EncoderInput input{expected.tensor("ids"), expected.tensor("mask"), {}};
    nn::write_safetensors(
        out / "ours.safetensors",
        {{"ids", input.ids_BT.clone()}, {"mask", input.mask_BT.clone()}, {"logits", model->logits(input)}});
    arguments.push_back(out.string());
  }
  EXPECT_EQ(reference(arguments), 0);
}

TEST_F(EncoderParity, RefusesTensorsThatBelongToNobody) {
  const fs::path path = folder_->path() / "BertForMaskedLM";
  Json config = load_encoder(path)->config();
  config["architectures"] = {"BertModel"};
  const TemporaryDirectory bare;
  write_file_atomic(bare.path() / "config.json", config.dump());
  fs::copy_file(path / "model.safetensors", bare.path() / "model.safetensors");
  EXPECT_THROW(load_encoder(bare.path()), Error);
}

TEST(EncoderConfig, IsRefusedNamingTheKey) {
  const auto refusal = [](const char* key, const Json& value) {
    Json config = {{"model_type", "bert"},        {"vocab_size", 11},       {"hidden_size", 6},
                   {"num_attention_heads", 2},    {"num_hidden_layers", 1}, {"intermediate_size", 5},
                   {"max_position_embeddings", 8}};
    config[key] = value;
    return mobula::refusal([&] { make_encoder(config, 1); });
  };
  EXPECT_EQ(refusal("vocab_size", 12), "accepted");
  EXPECT_NE(refusal("num_attention_heads", 4).find("num_attention_heads"), std::string::npos);
  EXPECT_NE(refusal("architectures", {"BertForQuestionAnswering"}).find("BertForQuestionAnswering"), std::string::npos);
  EXPECT_NE(refusal("is_decoder", true).find("is_decoder"), std::string::npos);
  EXPECT_NE(refusal("hidden_act", "snake").find("snake"), std::string::npos);
  EXPECT_NE(refusal("model_type", "bart").find("bart"), std::string::npos);
}

TEST(EncoderConfig, NamesManyLabelsWithoutDelayAndRefusesMore) {
  const auto with = [](std::int64_t num_labels) {
    return Json{{"model_type", "bert"},     {"architectures", {"BertForSequenceClassification"}},
                {"vocab_size", 5},          {"hidden_size", 2},
                {"num_attention_heads", 1}, {"num_hidden_layers", 1},
                {"intermediate_size", 2},   {"max_position_embeddings", 4},
                {"num_labels", num_labels}, {"id2label", {{"1", "cat"}, {"2", "cat"}}}};
  };
  const Json config = make_encoder(with(60000), 1)->config();
  EXPECT_EQ(config["id2label"].size(), 60000u);
  EXPECT_EQ(config["id2label"].back(), "LABEL_59999");
  EXPECT_EQ(config["label2id"]["cat"], 2);
  EXPECT_EQ(config["label2id"].size(), 59999u);
  EXPECT_THROW(make_encoder(with(1 << 20), 1), Error);
}

TEST(SentenceEmbedding, LeavesPaddingOut) {
  const at::Tensor hidden = at::tensor({1.0f, 2.0f, 3.0f, 6.0f, 100.0f, 100.0f}).view({1, 3, 2});
  const at::Tensor mask = at::tensor({1.0f, 1.0f, 0.0f}).to(at::kBool).unsqueeze(0);
  const auto embed = [&](Pooling pooling, bool normalize) {
    return embed_sentences(hidden, mask, {.pooling = pooling, .normalize = normalize}).view({2});
  };
  EXPECT_TRUE(embed(Pooling::mean, false).allclose(at::tensor({2.0f, 4.0f})));
  EXPECT_TRUE(embed(Pooling::first, false).allclose(at::tensor({1.0f, 2.0f})));
  EXPECT_TRUE(embed(Pooling::max, false).allclose(at::tensor({3.0f, 6.0f})));
  EXPECT_NEAR(embed(Pooling::mean, true).norm().item<double>(), 1.0, 1e-6);
}

}  // namespace
}  // namespace mobula::models
