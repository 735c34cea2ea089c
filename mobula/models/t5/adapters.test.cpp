// T5 under adapters against PEFT, drawn afresh at each run: merged when the model is opened, and beside one another in the
// engine.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/models/t5/engine.hpp"
#include "mobula/models/t5/load.hpp"
#include "mobula/models/testing/reference.hpp"

namespace mobula::models {
namespace {

namespace fs = std::filesystem;
using namespace testing_reference;

class T5Adapters : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory("mobula-t5-adapters");
    ASSERT_EQ(reference({"make-t5", folder_->path().string(), std::to_string(drawn_seed())}, "reference_adapters.py"),
              0);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static inline TemporaryDirectory* folder_ = nullptr;
};

TEST_F(T5Adapters, GivePeftsLogits) {
  const at::NoGradGuard no_grad;
  std::size_t num_cases = 0;
  for (const auto& entry : fs::directory_iterator(folder_->path())) {
    SCOPED_TRACE(entry.path().filename().string());
    ++num_cases;
    const Expected expected(entry.path() / "expected.safetensors");
    const at::Tensor ids = expected.tensor("ids"), decoder_ids = expected.tensor("decoder_ids");
    const nn::Adapter adapter = nn::load_adapter(entry.path() / "adapter");
    const auto tuned = load_t5(entry.path() / "model", {}, &adapter);
    EXPECT_LE(difference(tuned->decode(tuned->encode(ids, {}), {}, decoder_ids), expected.tensor("logits")),
              tolerance_of(expected));
    EXPECT_GT(difference(expected.tensor("plain"), expected.tensor("logits")), 0.01);
  }
  EXPECT_EQ(num_cases, 5u);
}

TEST_F(T5Adapters, RunBesideOneAnotherAndBesideTheModelItself) {
  const fs::path path = folder_->path() / "lora";
  const nn::Adapter one = nn::load_adapter(path / "adapter");
  nn::Adapter stronger = one;
  for (auto& [name, module] : stronger.modules) module.scale *= 2;
  const auto make_engine = [&] {
    return make_t5_engine(load_t5(path / "model"), {.adapters = {{"one", load_t5(path / "model", {}, &one)},
                                                                 {"two", load_t5(path / "model", {}, &stronger)}}});
  };
  const auto ask = [](nn::GenerationEngine& engine, const std::string& adapter, std::vector<double>& answer) {
    engine.submit({.prompt = {3, 5, 2, 7},
                   .sampling = {.max_tokens = 6, .temperature = 0, .ignore_eos = true},
                   .adapter = adapter,
                   .on_token = [&answer](const nn::TokenEvent& event) {
                     answer.push_back(event.logprob);
                     return true;
                   }});
  };
  const std::vector<std::string> names = {"", "one", "two"};
  std::vector<std::vector<double>> alone(3), together(3);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto engine = make_engine();
    ask(*engine, names[i], alone[i]);
    while (engine->step()) {
    }
  }
  EXPECT_NE(alone[0], alone[1]);
  EXPECT_NE(alone[1], alone[2]);
  const auto engine = make_engine();
  EXPECT_EQ(engine->info().adapters, (std::vector<std::string>{"one", "two"}));
  for (std::size_t i = 0; i < 3; ++i) ask(*engine, names[i], together[i]);
  while (engine->step()) {
  }
  EXPECT_EQ(together, alone);
  std::vector<double> none;
  EXPECT_NE(refusal([&] { ask(*engine, "three", none); }).find("three"), std::string::npos);
}

TEST_F(T5Adapters, OfAnotherModelAreRefusedNamingTheModule) {
  const fs::path path = folder_->path() / "lora";
  nn::Adapter adapter = nn::load_adapter(path / "adapter");
  auto module = adapter.modules.extract(adapter.modules.begin());
  const std::string name = module.key();
  module.key() = "encoder.block.9.layer.0.SelfAttention.q";
  adapter.modules.insert(std::move(module));
  EXPECT_NE(refusal([&] { load_t5(path / "model", {}, &adapter); }).find("'encoder.block.9."), std::string::npos);

  adapter = nn::load_adapter(path / "adapter");
  adapter.modules[name].a = nn::to_array(at::ones({2, 3}));
  EXPECT_NE(refusal([&] { load_t5(path / "model", {}, &adapter); }).find("'" + name), std::string::npos);

  adapter = nn::load_adapter(path / "adapter");
  adapter.replacements["decoder.final_layer_norm.weight"] = nn::to_array(at::ones({1}));
  EXPECT_NE(refusal([&] { load_t5(path / "model", {}, &adapter); }).find("decoder.final_layer_norm.weight"),
            std::string::npos);
}

}  // namespace
}  // namespace mobula::models
