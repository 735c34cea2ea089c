#include "mobula/models/opt/config.hpp"

#include <fmt/format.h>

#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/models/completed_config.hpp"

namespace mobula::models {

DecoderConfig read_opt_config(const Json& json) {
  CompletedConfig c(json);
  if (!c.json().contains("architectures")) c.json()["architectures"] = {"OPTForCausalLM"};
  DecoderConfig config;
  config.family = "opt";
  config.vocab_size = c.integer("vocab_size", 50272);
  config.hidden = c.integer("hidden_size", 768, 1, 1 << 20);
  config.embedding_width = c.integer("word_embed_proj_dim", config.hidden, 1, 1 << 20);
  config.inner = c.integer("ffn_dim", 3072, 1, 1 << 22);
  config.layers.resize(static_cast<std::size_t>(c.integer("num_hidden_layers", 12, 1, 4096)));
  config.num_heads = config.num_kv_heads = c.integer("num_attention_heads", 12, 1, 1 << 16);
  if (config.hidden % config.num_heads != 0) {
    throw_invalid(fmt::format("config.json: hidden_size {} is not a multiple of num_attention_heads {}", config.hidden,
                              config.num_heads));
  }
  config.head_dim = config.hidden / config.num_heads;
  config.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  config.positions = PositionKind::learned;
  config.position_offset = 2;
  config.context = c.integer("max_position_embeddings", 2048);
  config.norm = nn::NormKind::layer;
  config.norm_eps = 1e-5;
  config.norm_has_parameters = c.boolean("layer_norm_elementwise_affine", true);
  const bool before = c.boolean("do_layer_norm_before", true);
  config.block = before ? BlockKind::pre_norm : BlockKind::post_norm;
  config.has_final_norm = before && !c.boolean("_remove_final_layer_norm", false);
  config.mlp = MlpKind::plain;
  config.qkv_bias = config.attention_out_bias = config.mlp_bias = c.boolean("enable_bias", true);
  config.activation = nn::parse_activation(c.text("activation_function", "relu"));
  config.residual_dropout = c.number("dropout", 0.1, 0.0, 0.999);
  config.attention_dropout = c.number("attention_dropout", 0.0, 0.0, 0.999);
  config.initializer_range = c.number("init_std", 0.02, 0.0, 10.0);
  config.tied_head = c.boolean("tie_word_embeddings", true);
  config.eos_ids = c.eos_token_ids({2});
  config.names = {.embedding = "model.decoder.embed_tokens",
                  .positions = "model.decoder.embed_positions",
                  .project_in = "model.decoder.project_in",
                  .project_out = "model.decoder.project_out",
                  .final_norm = "model.decoder.final_layer_norm",
                  .layers = "model.decoder.layers.",
                  .norm_1 = "self_attn_layer_norm",
                  .norm_2 = "final_layer_norm",
                  .attention_out = "self_attn.out_proj",
                  .up = "fc1",
                  .down = "fc2"};
  config.source = c.json();
  return config;
}

}  // namespace mobula::models
