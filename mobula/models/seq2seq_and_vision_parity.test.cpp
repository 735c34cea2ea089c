// T5 and ViT against transformers: outputs, losses, gradients, and what we write, loaded by transformers.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/models/t5/load.hpp"
#include "mobula/models/testing/reference.hpp"
#include "mobula/models/vit/load.hpp"
#include "mobula/nn/safetensors.hpp"

namespace mobula::models {
namespace {

namespace fs = std::filesystem;
using namespace testing_reference;

class OtherParity : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory("mobula-others");
    ASSERT_EQ(reference({"make-others", folder_->path().string(), drawn_seed()}), 0);
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

  static void expect_gradients(const nn::Module& model, const nn::SafetensorsFile& expected) {
    for (const auto& [name, tensor] : model.parameters()) {
      const at::Tensor gradient = expected.tensor("grad." + name);
      ASSERT_TRUE(tensor.grad().defined()) << name;
      const double scale = std::max(gradient.abs().max().item<double>(), 1e-3);
      EXPECT_LE(difference(tensor.grad(), gradient) / scale, kTolerance) << name;
    }
  }

  static inline TemporaryDirectory* folder_ = nullptr;
};

TEST_F(OtherParity, T5GivesTransformersLogitsLossAndGradients) {
  for (const fs::path& path : cases("t5")) {
    SCOPED_TRACE(path.filename().string());
    const nn::SafetensorsFile expected(path.string() + ".expected.safetensors");
    const auto model = load_t5(path, {.trainable = true});
    const at::Tensor ids = expected.tensor("ids"), mask = expected.tensor("mask"), targets = expected.tensor("targets");
    const at::Tensor logits = model->decode(model->encode(ids, mask), mask, expected.tensor("decoder_ids"));
    EXPECT_LE(difference(logits.detach(), expected.tensor("logits")), kTolerance);
    const at::Tensor loss = model->loss(ids, mask, targets);
    EXPECT_NEAR(loss.item<double>(), expected.tensor("loss").item<double>(), kTolerance);
    loss.backward();
    expect_gradients(*model, expected);
    const auto rounded = load_t5(path, {.type = at::kBFloat16});
    const at::Tensor near = rounded->decode(rounded->encode(ids, mask), mask, expected.tensor("decoder_ids"));
    EXPECT_LE(difference(near.detach(), expected.tensor("logits")),
              2.0 * expected.tensor("bf16_error").item<double>() +
                  0.01 * expected.tensor("logits").abs().max().item<double>());
  }
}

TEST_F(OtherParity, VitGivesTransformersLogitsLossAndGradients) {
  for (const fs::path& path : cases("ViT")) {
    SCOPED_TRACE(path.filename().string());
    const nn::SafetensorsFile expected(path.string() + ".expected.safetensors");
    const auto model = load_vit(path, {.trainable = true});
    const at::Tensor pixels = expected.tensor("pixels");
    EXPECT_LE(difference(model->logits(pixels).detach(), expected.tensor("logits")), kTolerance);
    const auto rounded = load_vit(path, {.type = at::kBFloat16});
    EXPECT_LE(difference(rounded->logits(pixels).detach(), expected.tensor("logits")),
              2.0 * expected.tensor("bf16_error").item<double>() +
                  0.01 * expected.tensor("logits").abs().max().item<double>());
    if (!model->description().classifies) continue;
    const at::Tensor loss = model->loss(pixels, expected.tensor("targets"));
    EXPECT_NEAR(loss.item<double>(), expected.tensor("loss").item<double>(), kTolerance);
    loss.backward();
    expect_gradients(*model, expected);
  }
}

TEST_F(OtherParity, WritesCheckpointsThatTransformersLoads) {
  std::vector<std::string> arguments = {"check-others"};
  const at::NoGradGuard no_grad;
  for (const fs::path& path : cases("t5")) {
    const nn::SafetensorsFile expected(path.string() + ".expected.safetensors");
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
    const nn::SafetensorsFile expected(path.string() + ".expected.safetensors");
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
    try {
      VitConfig::from_json(config);
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("accepted");
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
