/// The smallest model of each family, with fresh parameters, in a folder: what tests of damaged checkpoints begin with.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/models/encoder/registry.hpp"
#include "mobula/models/registry.hpp"
#include "mobula/models/t5/load.hpp"
#include "mobula/models/vit/load.hpp"
#include "mobula/nn/generate/causal_lm_engine.hpp"

namespace mobula::models::testing_tiny {

struct TinyModel {
  std::string family;
  Json config;
  std::function<void(const std::filesystem::path& out)> save;
  /// Loads the folder and computes with what was loaded.
  std::function<void(const std::filesystem::path& folder)> use;
};

inline Json sized(const char* family, const Json& more) {
  Json config = {{"model_type", family},     {"vocab_size", 11},       {"hidden_size", 8},
                 {"intermediate_size", 12},  {"num_hidden_layers", 2}, {"num_attention_heads", 2},
                 {"num_key_value_heads", 2}, {"head_dim", 4},          {"max_position_embeddings", 16}};
  config.update(more);
  return config;
}

inline TinyModel causal(const Json& config) {
  return {config["model_type"].get<std::string>(), config,
          [config](const auto& out) { save_causal_lm(*make_causal_lm(config, 1), out); },
          [](const auto& folder) {
            const auto engine = nn::make_generation_engine(load_causal_lm(folder));
            engine->submit({.prompt = {1, 2, 3},
                            .sampling = {.max_tokens = 2, .temperature = 0, .ignore_eos = true},
                            .on_token = [](const nn::TokenEvent&) { return true; }});
            while (engine->step()) {
            }
          }};
}

/// Returns one model of every family.
inline std::vector<TinyModel> tiny_models() {
  const Json old_sizes = {{"n_embd", 8}, {"n_layer", 2}, {"n_head", 2}, {"n_positions", 16}, {"vocab_size", 11}};
  const auto old_keys = [&](const char* family, const Json& more) {
    Json config = {{"model_type", family}};
    config.update(old_sizes);
    config.update(more);
    return config;
  };
  const Json experts = {{"num_experts", 2}, {"num_experts_per_tok", 1}, {"moe_intermediate_size", 3}};
  Json shared = experts;
  shared["shared_expert_intermediate_size"] = 5;
  std::vector<TinyModel> models = {
      causal(old_keys("gpt2", Json::object())),
      causal(old_keys("gptj", {{"rotary_dim", 2}})),
      causal(sized("gpt_neox", {{"rotary_pct", 0.5}})),
      causal(sized("opt", {{"ffn_dim", 12}})),
      causal(sized("bloom", {{"n_layer", 2}, {"n_head", 2}})),
      causal(sized("llama", {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2.0}}}})),
      causal(sized("mistral", {{"sliding_window", 4}})),
      causal(sized("qwen2", {{"use_sliding_window", true}, {"sliding_window", 4}, {"max_window_layers", 1}})),
      causal(sized("qwen3", {{"layer_types", {"full_attention", "full_attention"}}})),
      causal(sized("gemma2", {{"sliding_window", 4}})),
      causal(sized("gemma3_text", {{"sliding_window", 4}, {"sliding_window_pattern", 2}})),
      causal(sized("phi3",
                   {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1.0, 1.5}}, {"long_factor", {2.0, 3.0}}}},
                    {"original_max_position_embeddings", 8}})),
      causal(sized("mixtral", {{"num_local_experts", 2}, {"num_experts_per_tok", 1}})),
      causal(sized("qwen2_moe", shared)),
      causal(sized("qwen3_moe", experts)),
  };
  const auto encoder = [](const Json& config) {
    return TinyModel{config["model_type"].get<std::string>(), config,
                     [config](const auto& out) { save_encoder(*make_encoder(config, 1), out); },
                     [](const auto& folder) {
                       const at::Tensor ids = at::tensor(std::vector<std::int64_t>{4, 5, 6}, at::kLong).unsqueeze(0);
                       load_encoder(folder)->logits({ids, at::ones_like(ids, at::kBool), {}});
                     }};
  };
  models.push_back(encoder(sized("bert", {{"architectures", {"BertForMaskedLM"}}})));
  models.push_back(
      encoder(sized("roberta", {{"architectures", {"RobertaForSequenceClassification"}}, {"num_labels", 3}})));
  const Json t5 = {{"model_type", "t5"}, {"vocab_size", 11}, {"d_model", 8},   {"d_kv", 4},
                   {"d_ff", 12},         {"num_layers", 2},  {"num_heads", 2}, {"feed_forward_proj", "gated-gelu"}};
  models.push_back({"t5", t5,
                    [t5](const auto& out) {
                      nn::FreshParameters source(1);
                      save_t5(T5(T5Config::from_json(t5), source), out);
                    },
                    [](const auto& folder) {
                      const auto model = load_t5(folder);
                      const at::Tensor ids = at::tensor(std::vector<std::int64_t>{4, 5, 6}, at::kLong).unsqueeze(0);
                      model->decode(model->encode(ids, {}), {}, ids);
                    }});
  const Json vit = {{"model_type", "vit"},      {"hidden_size", 8}, {"intermediate_size", 12}, {"num_hidden_layers", 2},
                    {"num_attention_heads", 2}, {"image_size", 8},  {"patch_size", 4},         {"num_labels", 3}};
  models.push_back({"vit", vit,
                    [vit](const auto& out) {
                      nn::FreshParameters source(1);
                      save_vit(Vit(VitConfig::from_json(vit), source), out);
                    },
                    [](const auto& folder) {
                      const auto model = load_vit(folder);
                      const VitConfig& c = model->description();
                      model->logits(at::ones({1, c.num_channels, c.image_height, c.image_width}));
                    }});
  return models;
}

}  // namespace mobula::models::testing_tiny
