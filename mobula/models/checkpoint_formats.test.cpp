// Checkpoints that torch.save and the gguf package wrote, drawn afresh at each run.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/models/gguf/checkpoint.hpp"
#include "mobula/models/registry.hpp"
#include "mobula/models/testing/reference.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::models {
namespace {

namespace fs = std::filesystem;
using namespace testing_reference;

TEST(CheckpointFormats, PytorchFilesHoldTheTensorsThatTorchSaved) {
  const TemporaryDirectory folder("mobula-pytorch");
  ASSERT_EQ(reference({"pytorch", folder.path().string(), std::to_string(drawn_seed())}, "reference_formats.py"), 0);
  std::size_t num_cases = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    if (!entry.is_directory()) continue;
    ++num_cases;
    SCOPED_TRACE(entry.path().filename().string());
    const Expected expected(entry.path().string() + ".expected.safetensors");
    const nn::CheckpointTensors tensors(entry.path());
    EXPECT_EQ(tensors.names().size(), expected.entries().size());
    for (const auto& wanted : expected.entries()) {
      const at::Tensor ours = nn::to_tensor(tensors.tensor(wanted.name));
      EXPECT_EQ(ours.scalar_type(), wanted.type) << wanted.name;
      EXPECT_TRUE(ours.equal(expected.tensor(wanted.name))) << wanted.name;
    }
    if (entry.path().filename() == "views") continue;
    EXPECT_EQ(load_causal_lm(entry.path())->info().family, "llama");
  }
  EXPECT_EQ(num_cases, 8u);
}

TEST(CheckpointFormats, GgufFilesGiveTheNumbersAndLogitsOfTheirReference) {
  const at::NoGradGuard no_grad;
  const TemporaryDirectory folder("mobula-gguf");
  ASSERT_EQ(reference({"gguf", folder.path().string(), std::to_string(drawn_seed())}, "reference_formats.py"), 0);
  std::size_t num_cases = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    if (entry.path().extension() != ".gguf") continue;
    ++num_cases;
    SCOPED_TRACE(entry.path().filename().string());
    const Expected expected(fs::path(entry.path()).replace_extension(".expected.safetensors"));
    const auto checkpoint = read_gguf_checkpoint(std::make_shared<nn::GgufFile>(entry.path()));
    for (const auto& wanted : expected.entries()) {
      if (!wanted.name.starts_with("tensor.")) continue;
      const at::Tensor ours = nn::to_tensor(checkpoint.tensors->tensor(wanted.name.substr(7)));
      EXPECT_LE(difference(ours, expected.tensor(wanted.name)), 1e-6) << wanted.name;
    }
    const auto model = load_causal_lm(entry.path(), {.type = at::kFloat});
    EXPECT_EQ(model->info().eos_ids, std::vector<nn::TokenId>{2});
    EXPECT_LE(difference(model->logits(expected.tensor("ids")), expected.tensor("logits")), kTolerance);
    const bool quantized = entry.path().stem().string().find("-Q") != std::string::npos;
    EXPECT_EQ(checkpoint.is_quantized, quantized);
    if (quantized) {
      EXPECT_EQ(load_causal_lm(entry.path())->precision(), nn::Precision::bf16);
    }
  }
  EXPECT_EQ(num_cases, 14u);
}

}  // namespace
}  // namespace mobula::models
