#include "mobula/models/gpt_neox/config.hpp"

#include <fmt/format.h>

#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/models/completed_config.hpp"
#include "mobula/models/rotary_config.hpp"

namespace mobula::models {

DecoderConfig read_gpt_neox_config(const Json& json) {
  CompletedConfig c(json);
  if (!c.json().contains("architectures")) c.json()["architectures"] = {"GPTNeoXForCausalLM"};
  DecoderConfig config;
  config.family = "gpt_neox";
  config.vocab_size = c.integer("vocab_size", 50432);
  config.hidden = config.embedding_width = c.integer("hidden_size", 6144, 1, 1 << 20);
  config.inner = c.integer("intermediate_size", 24576, 1, 1 << 22);
  config.layers.resize(static_cast<std::size_t>(c.integer("num_hidden_layers", 44, 1, 4096)));
  config.num_heads = config.num_kv_heads = c.integer("num_attention_heads", 64, 1, 1 << 16);
  if (config.hidden % config.num_heads != 0) {
    throw_invalid(fmt::format("config.json: hidden_size {} is not a multiple of num_attention_heads {}", config.hidden,
                              config.num_heads));
  }
  config.head_dim = config.hidden / config.num_heads;
  config.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  config.context = c.integer("max_position_embeddings", 2048);
  config.rotary = {read_rotary(c.reader(), {.head_dim = config.head_dim,
                                            .max_positions = config.context,
                                            .partial = 0.25,
                                            .theta_key = "rotary_emb_base",
                                            .partial_key = "rotary_pct"})};
  config.context = stretched_context(config.rotary.front(), config.context);
  config.norm = nn::NormKind::layer;
  config.norm_eps = c.number("layer_norm_eps", 1e-5, 0.0, 1.0);
  config.block = c.boolean("use_parallel_residual", true) ? BlockKind::parallel : BlockKind::pre_norm;
  config.qkv = QkvLayout::per_head;
  config.qkv_bias = config.attention_out_bias = c.boolean("attention_bias", true);
  config.mlp = MlpKind::plain;
  config.mlp_bias = true;
  config.activation = nn::parse_activation(c.text("hidden_act", "gelu"));
  config.attention_dropout = c.number("attention_dropout", 0.0, 0.0, 0.999);
  config.residual_dropout = config.embedding_dropout = c.number("hidden_dropout", 0.0, 0.0, 0.999);
  config.initializer_range = c.number("initializer_range", 0.02, 0.0, 10.0);
  config.tied_head = c.boolean("tie_word_embeddings", false);
  config.eos_ids = c.eos_token_ids({2});
  config.names = {.embedding = "gpt_neox.embed_in",
                  .final_norm = "gpt_neox.final_layer_norm",
                  .head = "embed_out",
                  .layers = "gpt_neox.layers.",
                  .qkv = "attention.query_key_value",
                  .attention_out = "attention.dense",
                  .up = "mlp.dense_h_to_4h",
                  .down = "mlp.dense_4h_to_h"};
  config.source = c.json();
  return config;
}

}  // namespace mobula::models
