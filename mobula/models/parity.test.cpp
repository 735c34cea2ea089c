// Every family against transformers: checkpoints drawn afresh at each run (the seed is printed; MOBULA_TEST_SEED fixes
// it), logits, loss, gradients, greedy text; and what we write, loaded by transformers.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/models/decoder/decoder_lm.hpp"
#include "mobula/models/registry.hpp"
#include "mobula/models/testing/reference.hpp"
#include "mobula/nn/generate/causal_lm_engine.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/safetensors_writer.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::models {
namespace {

namespace fs = std::filesystem;
using namespace testing_reference;

// The checkpoints that transformers wrote, made once a run.
class Parity : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryDirectory("mobula-parity");
    ASSERT_EQ(reference({"make", folder_->path().string(), std::to_string(drawn_seed())}), 0);
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

std::vector<nn::TokenId> to_ids(const at::Tensor& ids_T) {
  const at::Tensor ids = ids_T.contiguous();
  return {ids.const_data_ptr<std::int64_t>(), ids.const_data_ptr<std::int64_t>() + ids.numel()};
}

/// What the decode loop, with its own kernels and cache, says of prompts that it reads together: the logarithms of each
/// token's probability, from the second on.
std::vector<at::Tensor> engine_scores(std::shared_ptr<nn::CausalLm> model, const std::vector<at::Tensor>& prompts,
                                      const nn::EngineOptions& options = {}) {
  const auto engine = nn::make_generation_engine(std::move(model), options);
  std::vector<at::Tensor> scores(prompts.size());
  for (std::size_t b = 0; b < prompts.size(); ++b) {
    engine->submit({.prompt = to_ids(prompts[b]),
                    .sampling = {.max_tokens = 0, .prompt_logprobs = true},
                    .on_token = [&, b](const nn::TokenEvent& event) {
                      const std::vector<double>& all = event.prompt_logprobs;
                      scores[b] = at::tensor(std::vector<double>(all.begin() + 1, all.end()), at::kDouble);
                      return true;
                    }});
  }
  while (engine->step()) {
  }
  return scores;
}

/// The same out of logits [T, V].
at::Tensor scores_of(const at::Tensor& logits_TV, const at::Tensor& ids_T) {
  const std::int64_t last = ids_T.size(0) - 1;
  return logits_TV.narrow(0, 0, last)
      .to(at::kDouble)
      .log_softmax(-1)
      .gather(1, ids_T.narrow(0, 1, last).unsqueeze(1))
      .squeeze(1);
}

/// Holds a text that grows token by token with its cache to the model's scores of the whole so far.
void expect_growing_text(nn::GenerationEngine& engine, nn::CausalLm& model, const std::vector<nn::TokenId>& prompt,
                         std::size_t count, double tolerance) {
  std::vector<nn::TokenEvent> events;
  engine.submit({.prompt = prompt,
                 .sampling = {.max_tokens = count, .temperature = 0, .ignore_eos = true},
                 .on_token = [&](const nn::TokenEvent& event) {
                   events.push_back(event);
                   return true;
                 }});
  while (engine.step()) {
  }
  ASSERT_EQ(events.size(), count);
  std::vector<std::int64_t> so_far(prompt.begin(), prompt.end());
  for (const nn::TokenEvent& event : events) {
    const at::Tensor scores_V =
        model.logits(at::tensor(so_far, at::kLong).unsqueeze(0))[0][-1].to(at::kDouble).log_softmax(-1);
    const double mine = scores_V[event.id].item<double>();
    EXPECT_NEAR(event.logprob, mine, tolerance);
    // The likeliest, or one that rounding can't tell from it.
    EXPECT_GE(mine, scores_V.max().item<double>() - 2 * tolerance);
    so_far.push_back(event.id);
  }
}

/// Returns whether our kernels run the model: those for heads as wide as this one has don't exist.
bool has_kernels(const fs::path& path) {
  return path.filename() != "opt-wide-heads";
}

// Weights of 8 and 4 bits: the same bits for a prompt alone and beside others, and at 8 bits nearly the reference's scores.
void expect_few_bits_agree(const fs::path& path, const Expected& expected, const std::vector<at::Tensor>& prompts) {
  const std::shared_ptr<nn::CausalLm> model = load_causal_lm(path);
  if (!has_kernels(path)) {
    EXPECT_NE(refusal([&] { nn::make_generation_engine(model, {.quantize = nn::WeightType::int8}); }).find("heads of"),
              std::string::npos);
    return;
  }
  const at::Tensor logits_BTV = expected.tensor("logits"), sure = expected.tensor("sure");
  const double scale = logits_BTV.abs().max().item<double>();
  const double tolerance = 2 * (3 * expected.tensor("bf16_error").item<double>() + 0.02 * scale);
  for (const nn::WeightType type : {nn::WeightType::int8, nn::WeightType::int4}) {
    const nn::EngineOptions options = {.quantize = type};
    const std::vector<at::Tensor> together = engine_scores(model, prompts, options);
    for (std::size_t b = 0; b < prompts.size(); ++b) {
      EXPECT_TRUE(engine_scores(model, {prompts[b]}, options)[0].equal(together[b])) << b;
      EXPECT_TRUE(at::isfinite(together[b]).all().item<bool>()) << b;
      if (type == nn::WeightType::int4) continue;
      const auto row = static_cast<std::int64_t>(b);
      const at::Tensor errors = together[b].sub(scores_of(logits_BTV[row], prompts[b])).abs();
      EXPECT_LE(errors.mul(sure[row].narrow(0, 0, errors.size(0))).max().item<double>(), tolerance) << b;
    }
  }
}

// The decode loop: the same greedy text and the same scores of every prompt, of the padded batch's too, and with weights
// rounded to bfloat16 the same within what rounding does to transformers.
void expect_engine_agrees(const fs::path& path, const Expected& expected, double tolerance) {
  const at::Tensor ids_BT = expected.tensor("ids"), logits_BTV = expected.tensor("logits");
  const at::Tensor greedy = expected.tensor("greedy"), sure = expected.tensor("sure");
  const std::shared_ptr<nn::CausalLm> model = load_causal_lm(path);
  const auto engine = nn::make_generation_engine(model);
  std::vector<nn::TokenId> written;
  engine->submit(
      {.prompt = to_ids(ids_BT[0].narrow(0, 0, 5)),
       .sampling = {.max_tokens = static_cast<std::size_t>(greedy.numel()), .temperature = 0, .ignore_eos = true},
       .on_token = [&](const nn::TokenEvent& event) {
         written.push_back(event.id);
         return true;
       }});
  while (engine->step()) {
  }
  EXPECT_EQ(written, to_ids(greedy));
  expect_growing_text(*engine, *model, to_ids(ids_BT[0].narrow(0, 0, 3)), 6, tolerance);

  std::vector<at::Tensor> prompts;
  for (std::int64_t b = 0; b < ids_BT.size(0); ++b) prompts.push_back(ids_BT[b]);
  const std::vector<at::Tensor> scores = engine_scores(model, prompts);
  const std::vector<at::Tensor> rounded = engine_scores(load_causal_lm(path, {.type = at::kBFloat16}), prompts);
  // A logarithm of probability moves by at most twice what the logits move.
  const double scale = logits_BTV.abs().max().item<double>();
  const double bf16_tolerance = 2 * (3 * expected.tensor("bf16_error").item<double>() + 0.02 * scale);
  for (std::int64_t b = 0; b < ids_BT.size(0); ++b) {
    const at::Tensor wanted = scores_of(logits_BTV[b], ids_BT[b]);
    EXPECT_LE(difference(scores[static_cast<std::size_t>(b)], wanted), 2 * tolerance) << b;
    const at::Tensor errors = rounded[static_cast<std::size_t>(b)].sub(wanted).abs();
    EXPECT_LE(errors.mul(sure[b].narrow(0, 0, errors.size(0))).max().item<double>(), bf16_tolerance) << b;
  }
  expect_few_bits_agree(path, expected, prompts);

  // Texts of several lengths in one batch. Where angles go by the longest text of a batch, transformers' differ: ours go
  // by each text alone.
  const std::string name = path.filename().string();
  if (name.find("dynamic") != std::string::npos || name.find("longrope") != std::string::npos) return;
  const at::Tensor mask = expected.tensor("padded.mask");
  std::vector<at::Tensor> texts, wanted;
  for (std::int64_t b = 0; b < mask.size(0); ++b) {
    texts.push_back(expected.tensor("padded.ids")[b].masked_select(mask[b]));
    const at::Tensor logits_TV = expected.tensor("padded.logits")[b];
    wanted.push_back(
        scores_of(logits_TV.narrow(0, logits_TV.size(0) - texts.back().size(0), texts.back().size(0)), texts.back()));
  }
  const std::vector<at::Tensor> together = engine_scores(model, texts);
  const double padded_tolerance = tolerance_of(expected, "padded.");
  for (std::size_t b = 0; b < texts.size(); ++b) {
    EXPECT_LE(difference(together[b], wanted[b]), 2 * padded_tolerance) << b;
  }
}

TEST_F(Parity, GivesTransformersLogitsLossGradientsAndGreedyText) {
  std::int64_t num_sure = 0, num_all = 0;
  for (const fs::path& path : cases_) {
    SCOPED_TRACE(path.filename().string());
    const Expected expected(path.string() + ".expected.safetensors");
    const auto model = load_causal_lm(path, {.trainable = true});
    const at::Tensor ids = expected.tensor("ids");
    const double tolerance = tolerance_of(expected);
    EXPECT_LE(difference(model->logits(ids), expected.tensor("logits")), tolerance);
    const std::int64_t last = ids.size(1) - 1;
    const at::Tensor loss = model->loss(ids.narrow(1, 0, last), ids.narrow(1, 1, last));
    EXPECT_NEAR(loss.item<double>(), expected.tensor("loss").item<double>(), tolerance);
    loss.backward();
    const double gradient_tolerance = tolerance_of(expected, "grad_");
    for (const auto& [name, tensor] : model->parameters()) {
      const at::Tensor wanted = expected.tensor("grad." + name);
      ASSERT_TRUE(tensor.grad().defined()) << name;
      const double scale = std::max(wanted.abs().max().item<double>(), 1e-3);
      EXPECT_LE(difference(tensor.grad(), wanted) / scale, gradient_tolerance) << name;
    }
    EXPECT_TRUE(greedy(*model, ids, expected.tensor("greedy").numel()).equal(expected.tensor("greedy")));

    expect_engine_agrees(path, expected, tolerance);

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
  for (const fs::path& path : cases_) {
    SCOPED_TRACE(path.filename().string());
    const auto model = load_causal_lm(path);
    const Expected expected(path.string() + ".expected.safetensors");
    const at::Tensor ids = expected.tensor("padded.ids"), mask = expected.tensor("padded.mask");
    const at::Tensor wanted = expected.tensor("padded.logits");
    at::Tensor ours = wanted.clone();
    if (auto* decoder = dynamic_cast<DecoderLm*>(model.get()); decoder != nullptr) {
      ours = decoder->logits(ids, mask);
    } else {  // GPT-2's fused blocks know no mask: each text alone
      for (std::int64_t b = 0; b < ids.size(0); ++b) {
        const at::Tensor text = ids[b].masked_select(mask[b]);
        ours[b].narrow(0, ids.size(1) - text.size(0), text.size(0)).copy_(model->logits(text.unsqueeze(0))[0]);
      }
    }
    const at::Tensor errors = ours.sub(wanted).abs().amax(-1).masked_select(mask);
    EXPECT_LE(errors.max().item<double>(), tolerance_of(expected, "padded."));
  }
}

// Texts of hundreds of tokens, beyond windows and the lengths that rotary embeddings were trained on, read in pieces.
TEST(LongContext, GivesTransformersScoresAtOnceAndInPieces) {
  const at::NoGradGuard no_grad;
  const TemporaryDirectory folder("mobula-long");
  ASSERT_EQ(reference({"make-long", folder.path().string(), std::to_string(drawn_seed())}), 0);
  std::size_t num_cases = 0;
  std::int64_t num_sure = 0, num_all = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    if (!entry.is_directory()) continue;
    ++num_cases;
    SCOPED_TRACE(entry.path().filename().string());
    const Expected expected(entry.path().string() + ".expected.safetensors");
    const std::shared_ptr<nn::CausalLm> model = load_causal_lm(entry.path());
    const at::Tensor ids = expected.tensor("ids");
    const at::Tensor sure = expected.tensor("sure"), wanted = expected.tensor("logits");
    const double tolerance = tolerance_of(expected);
    EXPECT_LE(model->logits(ids).sub(wanted).abs().amax(-1).mul(sure).max().item<double>(), tolerance);
    num_sure += sure.sum().item<std::int64_t>();
    num_all += sure.numel();
    const std::vector<nn::TokenId> prompt = to_ids(ids[0]);
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
    ASSERT_EQ(scores.size(), prompt.size());
    const at::Tensor in_pieces = at::tensor(std::vector<double>(scores.begin() + 1, scores.end()), at::kDouble);
    const at::Tensor errors = in_pieces.sub(scores_of(wanted[0], ids[0])).abs();
    EXPECT_LE(errors.mul(sure[0].narrow(0, 0, errors.size(0))).max().item<double>(), 2 * tolerance);
    // A text that grows over the length at which angles change: as if it had been read whole, without what the prefix
    // cache kept and with it.
    for (int round = 0; round < 2; ++round) {
      expect_growing_text(*engine, *model, {prompt.begin(), prompt.begin() + 296}, 9, 2 * tolerance);
    }
  }
  EXPECT_GT(num_sure, num_all * 4 / 5);
  EXPECT_EQ(num_cases, 20u);
}

TEST_F(Parity, WritesCheckpointsThatTransformersLoads) {
  std::vector<std::string> arguments = {"check"};
  for (const fs::path& path : cases_) {
    const Expected expected(path.string() + ".expected.safetensors");
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
    for (const auto& entry : file.entries()) tensors.push_back({entry.name, nn::to_tensor(file.tensor(entry.name))});
    change(tensors);
    nn::write_safetensors(broken.path() / "model.safetensors", tensors);
    return mobula::refusal([&] { load_causal_lm(broken.path()); });
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
