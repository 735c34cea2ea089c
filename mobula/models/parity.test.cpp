// Every family against transformers: checkpoints drawn afresh at each run (the seed is printed; MOBULA_TEST_SEED fixes
// it), logits, loss, gradients, greedy text; and what we write, loaded by transformers.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/models/decoder/decoder_lm.hpp"
#include "mobula/models/registry.hpp"
#include "mobula/models/testing/reference.hpp"
#include "mobula/nn/generate/batch_engine.hpp"
#include "mobula/nn/safetensors.hpp"

namespace mobula::models {
namespace {

namespace fs = std::filesystem;
using namespace testing_reference;

// The checkpoints that transformers wrote, made once a run.
class Parity : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory("mobula-parity");
    ASSERT_EQ(reference({"make", folder_->path().string(), drawn_seed()}), 0);
    for (const auto& entry : fs::directory_iterator(folder_->path())) {
      if (entry.is_directory()) cases_.push_back(entry.path());
    }
    ASSERT_FALSE(cases_.empty());
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static at::Tensor greedy(nn::CausalLm& model, const at::Tensor& ids_BT, std::int64_t count) {
    const at::NoGradGuard no_grad;
    std::vector<std::int64_t> ids;
    const at::Tensor first = ids_BT[0];
    for (std::int64_t i = 0; i < 5; ++i) ids.push_back(first[i].item<std::int64_t>());
    for (std::int64_t i = 0; i < count; ++i) {
      ids.push_back(model.logits(at::tensor(ids, at::kLong).unsqueeze(0))[0][-1].argmax().item<std::int64_t>());
    }
    return at::tensor(std::vector<std::int64_t>(ids.begin() + 5, ids.end()), at::kLong);
  }

  static inline TemporaryDirectory* folder_ = nullptr;
  static inline std::vector<fs::path> cases_;
};

// The decode loop, with its own kernels and cache: the same greedy text and the same scores of every prompt.
void expect_engine_agrees(const fs::path& path, const at::Tensor& ids_BT, const nn::SafetensorsFile& expected) {
  const auto engine = nn::make_generation_engine(load_causal_lm(path));
  std::vector<nn::TokenId> written;
  const auto prompt = [&](std::int64_t row, std::int64_t length) {
    const at::Tensor ids = ids_BT[row].narrow(0, 0, length);
    return std::vector<nn::TokenId>(ids.data_ptr<std::int64_t>(), ids.data_ptr<std::int64_t>() + length);
  };
  const at::Tensor greedy = expected.tensor("greedy");
  engine->submit(
      {.prompt = prompt(0, 5),
       .sampling = {.max_tokens = static_cast<std::size_t>(greedy.numel()), .temperature = 0, .ignore_eos = true},
       .on_token = [&](const nn::TokenEvent& event) {
         written.push_back(event.id);
         return true;
       }});
  std::vector<std::vector<double>> scores(static_cast<std::size_t>(ids_BT.size(0)));
  for (std::int64_t b = 0; b < ids_BT.size(0); ++b) {
    engine->submit({.prompt = prompt(b, ids_BT.size(1)),
                    .sampling = {.max_tokens = 0, .prompt_logprobs = true},
                    .on_token = [&, b](const nn::TokenEvent& event) {
                      scores[static_cast<std::size_t>(b)] = event.prompt_logprobs;
                      return true;
                    }});
  }
  while (engine->step()) {
  }
  EXPECT_EQ(written, std::vector<nn::TokenId>(greedy.data_ptr<std::int64_t>(),
                                              greedy.data_ptr<std::int64_t>() + greedy.numel()));
  const at::Tensor logprobs = expected.tensor("logits").log_softmax(-1);
  for (std::int64_t b = 0; b < ids_BT.size(0); ++b) {
    ASSERT_EQ(scores[static_cast<std::size_t>(b)].size(), static_cast<std::size_t>(ids_BT.size(1)));
    for (std::int64_t t = 1; t < ids_BT.size(1); ++t) {
      const double wanted = logprobs[b][t - 1][ids_BT[b][t].item<std::int64_t>()].item<double>();
      EXPECT_NEAR(scores[static_cast<std::size_t>(b)][static_cast<std::size_t>(t)], wanted, kTolerance)
          << b << " " << t;
    }
  }
}

TEST_F(Parity, GivesTransformersLogitsLossGradientsAndGreedyText) {
  std::int64_t num_sure = 0, num_all = 0;
  for (const fs::path& path : cases_) {
    SCOPED_TRACE(path.filename().string());
    const nn::SafetensorsFile expected(path.string() + ".expected.safetensors");
    const auto model = load_causal_lm(path, {.trainable = true});
    const at::Tensor ids = expected.tensor("ids");
    EXPECT_LE(difference(model->logits(ids), expected.tensor("logits")), kTolerance);
    const std::int64_t last = ids.size(1) - 1;
    const at::Tensor loss = model->loss(ids.narrow(1, 0, last), ids.narrow(1, 1, last));
    EXPECT_NEAR(loss.item<double>(), expected.tensor("loss").item<double>(), kTolerance);
    loss.backward();
    for (const auto& [name, tensor] : model->parameters()) {
      const at::Tensor wanted = expected.tensor("grad." + name);
      ASSERT_TRUE(tensor.grad().defined()) << name;
      const double scale = std::max(wanted.abs().max().item<double>(), 1e-3);
      EXPECT_LE(difference(tensor.grad(), wanted) / scale, kTolerance) << name;
    }
    EXPECT_TRUE(greedy(*model, ids, expected.tensor("greedy").numel()).equal(expected.tensor("greedy")));

    expect_engine_agrees(path, ids, expected);

    // Rounding is amplified by what the weights happen to be; the reference's own bfloat16 shows by how much. Where two
    // experts' scores are closer than they are rounded, a token may go to either: those positions and what sees them say
    // nothing.
    const at::Tensor sure = expected.tensor("sure");
    const auto rounded = load_causal_lm(path, {.type = at::kBFloat16});
    const double scale = expected.tensor("logits").abs().max().item<double>();
    const at::Tensor errors =
        rounded->logits(ids).detach().to(at::kFloat).sub(expected.tensor("logits")).abs().amax(-1).mul(sure);
    EXPECT_LE(errors.max().item<double>(), 3.0 * expected.tensor("bf16_error").item<double>() + 0.02 * scale);
    num_sure += sure.sum().item<std::int64_t>();
    num_all += sure.numel();
  }
  EXPECT_GT(num_sure, num_all * 4 / 5);
}

TEST_F(Parity, GivesTransformersLogitsOfBatchesPaddedOnTheLeft) {
  const at::NoGradGuard no_grad;
  std::size_t num_compared = 0;
  for (const fs::path& path : cases_) {
    SCOPED_TRACE(path.filename().string());
    const auto model = load_causal_lm(path);
    auto* decoder = dynamic_cast<DecoderLm*>(model.get());
    if (decoder == nullptr) continue;  // GPT-2's fused blocks know no mask
    const nn::SafetensorsFile expected(path.string() + ".expected.safetensors");
    const at::Tensor mask = expected.tensor("padded.mask");
    const at::Tensor ours = decoder->logits(expected.tensor("padded.ids"), mask);
    const at::Tensor wanted = expected.tensor("padded.logits");
    const at::Tensor errors = ours.sub(wanted).abs().amax(-1).masked_select(mask);
    // Of scores in the tens, single precision leaves less than four places.
    const double scale = wanted.abs().amax(-1).masked_select(mask).max().item<double>();
    EXPECT_LE(errors.max().item<double>(), kTolerance * std::max(1.0, scale / 10)) << scale;
    ++num_compared;
  }
  EXPECT_GT(num_compared, 30u);
}

// Texts of hundreds of tokens, beyond windows and the lengths that rotary embeddings were trained on, read in pieces.
TEST(LongContext, GivesTransformersScoresAtOnceAndInPieces) {
  const at::NoGradGuard no_grad;
  const TemporaryDirectory folder("mobula-long");
  ASSERT_EQ(reference({"make-long", folder.path().string(), drawn_seed()}), 0);
  std::size_t num_cases = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    if (!entry.is_directory()) continue;
    ++num_cases;
    SCOPED_TRACE(entry.path().filename().string());
    const nn::SafetensorsFile expected(entry.path().string() + ".expected.safetensors");
    const std::shared_ptr<nn::CausalLm> model = load_causal_lm(entry.path());
    const at::Tensor ids = expected.tensor("ids");
    EXPECT_LE(difference(model->logits(ids), expected.tensor("logits")), kTolerance);
    const std::vector<nn::TokenId> prompt(ids.data_ptr<std::int64_t>(), ids.data_ptr<std::int64_t>() + ids.numel());
    const auto engine = nn::make_generation_engine(model, {.max_step_tokens = 170});
    std::vector<double> scores;
    engine->submit({.prompt = prompt,
                    .sampling = {.max_tokens = 0, .prompt_logprobs = true},
                    .on_token = [&](const nn::TokenEvent& event) {
                      scores = event.prompt_logprobs;
                      return true;
                    }});
    while (engine->step()) {
    }
    const at::Tensor logprobs = expected.tensor("logits")[0].log_softmax(-1).contiguous();
    ASSERT_EQ(scores.size(), prompt.size());
    double worst = 0;
    for (std::size_t t = 1; t < prompt.size(); ++t) {
      const auto row = static_cast<std::int64_t>(t) - 1;
      const float wanted = logprobs.const_data_ptr<float>()[row * logprobs.size(1) + prompt[t]];
      worst = std::max(worst, std::abs(scores[t] - static_cast<double>(wanted)));
    }
    EXPECT_LE(worst, kTolerance);
    // A text that grows over the length at which angles change: as if it had been read whole, with what the prefix cache
    // kept and without.
    const auto grow = [&](nn::GenerationEngine& with) {
      std::vector<nn::TokenId> ids_written;
      with.submit({.prompt = {prompt.begin(), prompt.begin() + 296},
                   .sampling = {.max_tokens = 9, .temperature = 0, .ignore_eos = true},
                   .on_token = [&](const nn::TokenEvent& event) {
                     ids_written.push_back(event.id);
                     return true;
                   }});
      while (with.step()) {
      }
      return ids_written;
    };
    std::vector<nn::TokenId> whole(prompt.begin(), prompt.begin() + 296);
    for (int i = 0; i < 9; ++i) {
      const std::vector<std::int64_t> so_far(whole.begin(), whole.end());
      const at::Tensor scores_V = model->logits(at::tensor(so_far, at::kLong).unsqueeze(0))[0][-1];
      whole.push_back(static_cast<nn::TokenId>(scores_V.argmax().item<std::int64_t>()));
    }
    const std::vector<nn::TokenId> wanted(whole.begin() + 296, whole.end());
    EXPECT_EQ(grow(*engine), wanted);
    EXPECT_EQ(grow(*engine), wanted);
  }
  EXPECT_GE(num_cases, 9u);
}

TEST_F(Parity, WritesCheckpointsThatTransformersLoads) {
  std::vector<std::string> arguments = {"check"};
  for (const fs::path& path : cases_) {
    const nn::SafetensorsFile expected(path.string() + ".expected.safetensors");
    const auto loaded = load_causal_lm(path);
    // Fresh parameters under the same configuration, so that nothing of the original file can come through.
    const auto model = make_causal_lm(loaded->config(), 3);
    const fs::path out = folder_->path() / (path.filename().string() + "-ours");
    save_causal_lm(*model, out);
    const at::NoGradGuard no_grad;
    const at::Tensor ids = expected.tensor("ids").clone();
    nn::write_safetensors(out / "ours.safetensors",
                          {{"ids", ids}, {"logits", model->logits(ids)}, {"greedy", greedy(*model, ids, 8)}});
    arguments.push_back(out.string());
  }
  EXPECT_EQ(reference(arguments), 0);
}

TEST(CausalLmCheckpoint, IsRefusedWithMissingMisshapenOrForeignTensors) {
  const TemporaryDirectory source, broken;
  const Json config = {{"model_type", "gpt2"}, {"vocab_size", 11}, {"n_positions", 8},
                       {"n_embd", 6},          {"n_layer", 1},     {"n_head", 2}};
  save_causal_lm(*make_causal_lm(config, 1), source.path());
  fs::copy_file(source.path() / "config.json", broken.path() / "config.json");
  using Tensors = std::vector<nn::NamedTensor>;
  const auto load_with = [&](const std::function<void(Tensors&)>& change) {
    const nn::SafetensorsFile file(source.path() / "model.safetensors");
    Tensors tensors;
    for (const auto& entry : file.entries()) tensors.push_back({entry.name, file.tensor(entry.name)});
    change(tensors);
    nn::write_safetensors(broken.path() / "model.safetensors", tensors);
    try {
      load_causal_lm(broken.path());
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("accepted");
  };
  const auto refuses = [&](const std::string& name, const std::function<void(Tensors&)>& change) {
    const std::string message = load_with(change);
    EXPECT_NE(message.find(name), std::string::npos) << message;
  };
  EXPECT_EQ(load_with([](Tensors&) {}), "accepted");
  refuses("transformer.wte.weight",
          [](Tensors& t) { std::erase_if(t, [](const auto& x) { return x.name == "transformer.wte.weight"; }); });
  refuses("stranger", [](Tensors& t) { t.push_back({"stranger", t.front().tensor}); });
  refuses("transformer.wpe.weight", [](Tensors& t) {
    for (auto& x : t) {
      if (x.name == "transformer.wpe.weight") x.tensor = x.tensor.flatten();
    }
  });
  // The bare model's names, as old checkpoints have them.
  EXPECT_EQ(load_with([](Tensors& t) {
              for (auto& x : t) x.name = x.name.substr(x.name.find('.') + 1);
            }),
            "accepted");
}

}  // namespace
}  // namespace mobula::models
