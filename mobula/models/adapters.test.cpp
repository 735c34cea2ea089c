// Adapters against PEFT, drawn afresh at each run: merged, taken out again, beside one another in the engine, and written
// for PEFT to read.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/models/registry.hpp"
#include "mobula/models/testing/reference.hpp"
#include "mobula/nn/adapters/merge_adapter.hpp"
#include "mobula/nn/generate/causal_lm_engine.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/safetensors_writer.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::models {
namespace {

namespace fs = std::filesystem;
using namespace testing_reference;

class Adapters : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory("mobula-adapters");
    ASSERT_EQ(reference({"make", folder_->path().string(), std::to_string(drawn_seed())}, "reference_adapters.py"), 0);
    for (const auto& entry : fs::directory_iterator(folder_->path())) cases_.push_back(entry.path());
    std::ranges::sort(cases_);
    ASSERT_GE(cases_.size(), 15u);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static bool only_merges(const fs::path& path) { return path.filename().string().starts_with("merge-"); }

  static std::vector<nn::TokenId> prompt(const at::Tensor& ids_BT, std::int64_t row) {
    const at::Tensor ids = ids_BT[row].contiguous();
    return {ids.const_data_ptr<std::int64_t>(), ids.const_data_ptr<std::int64_t>() + ids.numel()};
  }
  static void score(nn::GenerationEngine& engine, const std::vector<nn::TokenId>& prompt, const std::string& adapter,
                    std::vector<double>& scores) {
    engine.submit({.prompt = prompt,
                   .sampling = {.max_tokens = 0, .prompt_logprobs = true},
                   .adapter = adapter,
                   .on_token = [&scores](const nn::TokenEvent& event) {
                     scores.assign(event.prompt_logprobs.begin() + 1, event.prompt_logprobs.end());
                     return true;
                   }});
  }
  static void run(nn::GenerationEngine& engine) {
    while (engine.step()) {
    }
  }

  static inline TemporaryDirectory* folder_ = nullptr;
  static inline std::vector<fs::path> cases_;
};

TEST_F(Adapters, GivePeftsLogitsAtRunTime) {
  const at::NoGradGuard no_grad;
  for (const fs::path& path : cases_) {
    SCOPED_TRACE(path.filename().string());
    const auto adapter = std::make_shared<const nn::Adapter>(nn::load_adapter(path / "adapter"));
    const nn::EngineOptions options = {.adapters = {{"tuned", adapter}}};
    if (only_merges(path)) {
      EXPECT_THROW(nn::make_generation_engine(load_causal_lm(path / "model"), options), Error);
      continue;
    }
    const Expected expected(path / "expected.safetensors");
    const at::Tensor ids = expected.tensor("ids"), with_adapter = expected.tensor("logits").log_softmax(-1),
                     without = expected.tensor("plain").log_softmax(-1);
    const auto engine = nn::make_generation_engine(load_causal_lm(path / "model"), options);
    std::vector<double> tuned, plain, again;
    score(*engine, prompt(ids, 0), "tuned", tuned);
    score(*engine, prompt(ids, 0), "", plain);
    score(*engine, prompt(ids, 1), "tuned", again);
    run(*engine);
    const auto expect_near = [&](const std::vector<double>& scores, const at::Tensor& logprobs, std::int64_t row) {
      for (std::int64_t t = 1; t < ids.size(1); ++t) {
        const double wanted = logprobs[row][t - 1][ids[row][t].item<std::int64_t>()].item<double>();
        EXPECT_NEAR(scores[static_cast<std::size_t>(t - 1)], wanted, kTolerance) << "row " << row << ", token " << t;
      }
    };
    expect_near(tuned, with_adapter, 0);
    expect_near(plain, without, 0);
    expect_near(again, with_adapter, 1);
  }
}

TEST_F(Adapters, MergeAsInPeftAndComeOutAgain) {
  for (const fs::path& path : cases_) {
    SCOPED_TRACE(path.filename().string());
    const nn::Adapter adapter = nn::load_adapter(path / "adapter");
    const Expected expected(path / "expected.safetensors");
    const nn::CheckpointTensors model(path / "model");
    std::vector<nn::NamedTensor> merged = nn::merged_parameters(model, adapter);
    EXPECT_EQ(merged.size(), model.names().size());
    for (const nn::NamedTensor& one : merged) {
      EXPECT_LE(difference(one.tensor, expected.tensor("merged." + one.name)), 1e-5) << one.name;
    }
    const fs::path out = path / "merged";
    fs::create_directories(out);
    nn::write_safetensors(out / "model.safetensors", merged);
    const nn::CheckpointTensors written(out);
    const bool dora = path.filename().string().find("dora") != std::string::npos;
    if (dora || !adapter.replacements.empty()) {
      EXPECT_THROW(nn::merged_parameters(written, adapter, /*undo=*/true), Error);
      continue;
    }
    for (const nn::NamedTensor& one : nn::merged_parameters(written, adapter, /*undo=*/true)) {
      EXPECT_LE(difference(one.tensor, nn::to_tensor(model.tensor(one.name))), 1e-5) << one.name;
    }
  }
}

TEST_F(Adapters, AreWrittenAsPeftReadsThem) {
  std::vector<std::string> arguments = {"check"};
  for (const fs::path& path : cases_) {
    fs::create_directories(path / "ours");
    nn::save_adapter(nn::load_adapter(path / "adapter"), path / "ours");
    arguments.push_back(path.string());
  }
  EXPECT_EQ(reference(arguments, "reference_adapters.py"), 0);
}

TEST_F(Adapters, GiveTheSameBitsAloneAndBesideOthersAndFromThePrefixCache) {
  // Two adapters of one model: the case's own, and the same twice as strong.
  const fs::path path = folder_->path() / "dora-rslora";
  const auto one = std::make_shared<const nn::Adapter>(nn::load_adapter(path / "adapter"));
  auto stronger = *one;
  for (auto& [name, module] : stronger.modules) module.scale *= 2;
  const auto two = std::make_shared<const nn::Adapter>(std::move(stronger));
  const nn::EngineOptions options = {.adapters = {{"one", one}, {"two", two}}};
  const std::shared_ptr<nn::CausalLm> model = load_causal_lm(path / "model", {.type = at::kBFloat16});
  const std::vector<nn::TokenId> start(33, 3);
  const auto write = [&](nn::GenerationEngine& engine, const std::string& adapter, std::vector<double>& scores) {
    engine.submit({.prompt = start,
                   .sampling = {.max_tokens = 5, .temperature = 0, .ignore_eos = true},
                   .adapter = adapter,
                   .on_token = [&scores](const nn::TokenEvent& event) {
                     scores.push_back(event.id);
                     scores.push_back(event.logprob);
                     return true;
                   }});
  };
  std::vector<std::vector<double>> alone(3), together(9);
  const std::string names[] = {"", "one", "two"};
  for (int i = 0; i < 3; ++i) {
    const auto engine = nn::make_generation_engine(model, options);
    write(*engine, names[i], alone[i]);
    run(*engine);
  }
  EXPECT_NE(alone[0], alone[1]);
  EXPECT_NE(alone[1], alone[2]);
  const auto engine = nn::make_generation_engine(model, options);
  for (int i = 0; i < 9; ++i) {
    write(*engine, names[i % 3], together[i]);
    if (i == 5) run(*engine);  // the rest finds the others' prefixes
  }
  run(*engine);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(together[i], alone[i % 3]) << i;
  std::vector<double> none;
  EXPECT_THROW(write(*engine, "three", none), Error);
}

TEST_F(Adapters, AreRefusedWhenFilesAreDamagedOrForeign) {
  const fs::path source = folder_->path() / "lora" / "adapter";
  const TemporaryDirectory broken;
  const auto refusal = [&](const std::function<void(Json&, std::vector<nn::NamedTensor>&)>& change) {
    Json config = nn::read_json_file(source / "adapter_config.json");
    const nn::SafetensorsFile file(source / "adapter_model.safetensors");
    std::vector<nn::NamedTensor> tensors;
    for (const auto& entry : file.entries()) tensors.push_back({entry.name, nn::to_tensor(file.tensor(entry.name))});
    change(config, tensors);
    write_file_atomic(broken.path() / "adapter_config.json", config.dump());
    nn::write_safetensors(broken.path() / "adapter_model.safetensors", tensors);
    return mobula::refusal([&] {
      const nn::Adapter adapter = nn::load_adapter(broken.path());
      nn::make_generation_engine(load_causal_lm(folder_->path() / "lora" / "model"),
                                 {.adapters = {{"x", std::make_shared<const nn::Adapter>(adapter)}}});
    });
  };
  const auto refuses = [&](const std::string& what,
                           const std::function<void(Json&, std::vector<nn::NamedTensor>&)>& change) {
    const std::string message = refusal(change);
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  EXPECT_EQ(refusal([](Json&, auto&) {}), "accepted");
  refuses("PROMPT_TUNING", [](Json& config, auto&) { config["peft_type"] = "PROMPT_TUNING"; });
  refuses("lora_alpha", [](Json& config, auto&) { config["lora_alpha"] = "much"; });
  refuses("alpha_pattern", [](Json& config, auto&) { config["alpha_pattern"] = {{"q_proj", "x"}}; });
  refuses("layer_replication", [](Json& config, auto&) { config["layer_replication"] = {{0, 1}}; });
  refuses("lora_magnitude_vector", [](Json& config, auto&) { config["use_dora"] = true; });
  refuses("no regular expression", [](Json& config, auto&) { config["alpha_pattern"] = {{"(", 1}}; });
  refuses("lora_B", [](Json&, auto& tensors) {
    std::erase_if(tensors, [](const auto& t) { return t.name.ends_with("q_proj.lora_B.weight"); });
  });
  refuses("stranger", [](Json&, auto& tensors) { tensors.push_back({"stranger", tensors[0].tensor}); });
  refuses("model.layers.77", [](Json&, auto& tensors) {
    for (auto& t : tensors) {
      if (const auto at = t.name.find("layers.0."); at != std::string::npos) t.name.replace(at, 9, "layers.77.");
    }
  });
  refuses("doesn't fit", [](Json&, auto& tensors) {
    for (auto& t : tensors) {
      if (t.name.ends_with("0.self_attn.q_proj.lora_A.weight")) t.tensor = t.tensor.narrow(1, 0, 1);
    }
  });
  EXPECT_THROW(nn::load_adapter(folder_->path() / "lora" / "model"), Error);
}

}  // namespace
}  // namespace mobula::models
