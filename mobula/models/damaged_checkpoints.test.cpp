// Checkpoints of every family with tensors missing, misshapen, of the wrong type or too many, and with damaged
// configurations: one Error that names the file and the tensor or key, or a model that works.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/models/testing/tiny_models.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/safetensors_writer.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::models {
namespace {

namespace fs = std::filesystem;
using testing_tiny::tiny_models;
using testing_tiny::TinyModel;
using Tensors = std::vector<nn::NamedTensor>;

class DamagedCheckpoints : public testing::Test {
 protected:
  static Tensors read_tensors(const fs::path& folder) {
    const nn::SafetensorsFile file(folder / "model.safetensors");
    Tensors tensors;
    for (const auto& entry : file.entries())
      tensors.push_back({entry.name, nn::to_tensor(file.tensor(entry.name)).clone()});
    return tensors;
  }
  // Expects the folder with these tensors to be refused in a message that holds all of `parts`.
  static void expect_refusal(const TinyModel& model, const fs::path& folder, const Tensors& tensors,
                             const std::vector<std::string>& parts) {
    nn::write_safetensors(folder / "model.safetensors", tensors);
    const std::string message = refusal([&] { model.use(folder); });
    EXPECT_LT(message.size(), 1000u);
    for (const std::string& part : parts) EXPECT_NE(message.find(part), std::string::npos) << part << "\n" << message;
  }
};

TEST_F(DamagedCheckpoints, OfEveryFamilyAreRefusedNamingFileAndTensor) {
  const at::NoGradGuard no_grad;
  for (const TinyModel& model : tiny_models()) {
    SCOPED_TRACE(model.family);
    const TemporaryDirectory folder("mobula-damaged");
    model.save(folder.path());
    const Tensors whole = read_tensors(folder.path());
    ASSERT_GT(whole.size(), 5u);
    EXPECT_EQ(refusal([&] { model.use(folder.path()); }), "accepted");
    const std::string file = (folder.path() / "model.safetensors").string();
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const std::string& name = whole[i].name;
      SCOPED_TRACE(name);
      Tensors without = whole;
      without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
      // T5 without a head of its own has the embedding's.
      if (name != "lm_head.weight" || model.family != "t5") {
        expect_refusal(model, folder.path(), without, {folder.path().string(), name, "no tensor"});
      }
      Tensors longer = whole;
      longer[i].tensor = at::cat({whole[i].tensor, whole[i].tensor});
      expect_refusal(model, folder.path(), longer, {file, name, "has the shape", "config.json asks for"});
      Tensors flat = whole;
      flat[i].tensor = whole[i].tensor.dim() == 1 ? whole[i].tensor.unsqueeze(1) : whole[i].tensor.flatten();
      expect_refusal(model, folder.path(), flat, {file, name, "has the shape"});
      Tensors integers = whole;
      integers[i].tensor = whole[i].tensor.to(at::kInt);
      expect_refusal(model, folder.path(), integers, {file, name, "expected floating-point"});
    }
    Tensors more = whole;
    more.push_back({"transformer.stranger.weight", whole.front().tensor});
    expect_refusal(model, folder.path(), more, {file, "transformer.stranger.weight", "belongs to no parameter"});
  }
}

TEST_F(DamagedCheckpoints, WithoutAShardAreRefusedNamingIt) {
  for (const TinyModel& model : tiny_models()) {
    SCOPED_TRACE(model.family);
    const TemporaryDirectory folder("mobula-shards");
    model.save(folder.path());
    const Tensors whole = read_tensors(folder.path());
    fs::remove(folder.path() / "model.safetensors");
    Json index = {{"weight_map", Json::object()}};
    const std::size_t half = whole.size() / 2;
    for (std::size_t i = 0; i < whole.size(); ++i)
      index["weight_map"][whole[i].name] = i < half ? "one.safetensors" : "two.safetensors";
    const auto first = whole.begin(), middle = first + static_cast<std::ptrdiff_t>(half);
    nn::write_safetensors(folder.path() / "one.safetensors", Tensors(first, middle));
    nn::write_safetensors(folder.path() / "two.safetensors", Tensors(middle, whole.end()));
    write_file_atomic(folder.path() / "model.safetensors.index.json", index.dump());
    EXPECT_EQ(refusal([&] { model.use(folder.path()); }), "accepted");
    // A tensor that lies in another shard than the index says, and one whose shape is wrong, name their shard.
    nn::write_safetensors(folder.path() / "two.safetensors", Tensors(middle + 1, whole.end()));
    const std::string lacking = refusal([&] { model.use(folder.path()); });
    EXPECT_NE(lacking.find("two.safetensors: no tensor '" + middle->name + "'"), std::string::npos) << lacking;
    Tensors flat(middle, whole.end());
    flat.front().tensor = at::cat({flat.front().tensor, flat.front().tensor});
    nn::write_safetensors(folder.path() / "two.safetensors", flat);
    const std::string misshapen = refusal([&] { model.use(folder.path()); });
    EXPECT_NE(misshapen.find("two.safetensors: tensor '" + middle->name + "' has the shape"), std::string::npos)
        << misshapen;
    fs::remove(folder.path() / "two.safetensors");
    const std::string missing = refusal([&] { model.use(folder.path()); });
    EXPECT_NE(missing.find((folder.path() / "two.safetensors").string() + ": the shard is missing"), std::string::npos)
        << missing;
  }
}

TEST_F(DamagedCheckpoints, OfAnUnknownFamilyNameTheFileAndTheNearest) {
  const TemporaryDirectory folder("mobula-unknown");
  write_file_atomic(folder.path() / "config.json", R"({"model_type": "lama"})");
  try {
    load_causal_lm(folder.path());
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.message(),
              (folder.path() / "config.json").string() + ": model_type 'lama' is no causal language model we know");
    EXPECT_NE(error.hint().find("llama"), std::string::npos) << error.hint();
  }
  write_file_atomic(folder.path() / "config.json", R"({"vocab_size": 11})");
  EXPECT_EQ(refusal([&] { load_causal_lm(folder.path()); }),
            (folder.path() / "config.json").string() + ": model_type is missing");
  write_file_atomic(folder.path() / "config.json", R"({"model_type": "lama"})");
  const std::string encoder = refusal([&] { load_encoder(folder.path()); });
  EXPECT_NE(encoder.find((folder.path() / "config.json").string() + ": model_type 'lama'"), std::string::npos)
      << encoder;
}

// One change of a value somewhere in the configuration, also within rope_scaling and the like.
void change_one(Json& object, Random& random) {
  static const std::vector<Json> kValues = {nullptr,
                                            true,
                                            false,
                                            "",
                                            "gelu",
                                            "linear",
                                            -1,
                                            0,
                                            1,
                                            2,
                                            3,
                                            7,
                                            11,
                                            4096,
                                            1 << 20,
                                            std::int64_t{1} << 31,
                                            std::int64_t{1} << 40,
                                            INT64_MAX,
                                            UINT64_MAX,
                                            -0.5,
                                            0.0,
                                            1e-30,
                                            0.5,
                                            1.5,
                                            1e9,
                                            1e308,
                                            Json::array(),
                                            Json::array({1}),
                                            Json::array({"full_attention", "sliding_attention"}),
                                            Json::array({1.0, 2.0}),
                                            Json::object(),
                                            Json{{"rope_type", "yarn"}, {"factor", 4.0}},
                                            Json{{"rope_type", "dynamic"}, {"factor", 1e-6}}};
  static const std::vector<const char*> kMore = {
      "rope_scaling", "rope_parameters", "rope_theta",          "partial_rotary_factor",
      "layer_types",  "sliding_window",  "tie_word_embeddings", "attention_bias",
      "eos_token_id", "hidden_act",      "quantization_config", "architectures",
      "id2label",     "seq_length",      "num_labels"};
  const auto value = [&] { return kValues[random.below(kValues.size())]; };
  if (random.below(4) == 0) {
    object[kMore[random.below(kMore.size())]] = value();
    return;
  }
  auto place = object.begin();
  std::advance(place, static_cast<std::ptrdiff_t>(random.below(object.size())));
  if (place->is_object() && !place->empty() && random.below(3) != 0) return change_one(*place, random);
  if (place.key() == "model_type") return;
  if (random.below(8) == 0) {
    object.erase(place);
  } else {
    *place = value();
  }
}

TEST_F(DamagedCheckpoints, WithChangedConfigurationsAreRefusedNamingAFileOrWork) {
  const at::NoGradGuard no_grad;
  const std::uint64_t seed = drawn_seed();
  int refused = 0, accepted = 0;
  for (const TinyModel& model : tiny_models()) {
    const TemporaryDirectory folder("mobula-config");
    model.save(folder.path());
    const Json whole = nn::read_json_file(folder.path() / "config.json");
    for (std::uint64_t round = 0; round < 80; ++round) {
      Random random(seed * 1000 + round);
      Json changed = whole;
      for (std::uint64_t i = 0; i <= random.below(2); ++i) change_one(changed, random);
      write_file_atomic(folder.path() / "config.json", changed.dump());
      const std::string message = refusal([&] { model.use(folder.path()); });
      message == "accepted" ? ++accepted : ++refused;
      if (message == "accepted") continue;
      // Or the text of three tokens is longer than the context that is left.
      const bool named =
          message.find(folder.path().string()) != std::string::npos || message.find("context") != std::string::npos;
      EXPECT_TRUE(named && message.find("no Error of ours") == std::string::npos && message.size() < 1500)
          << model.family << " round " << round << ": " << message.substr(0, 600) << "\n"
          << changed.dump();
    }
  }
  EXPECT_GT(refused, 200);
  EXPECT_GT(accepted, 40);
}

}  // namespace
}  // namespace mobula::models
