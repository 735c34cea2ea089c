#include "mobula/models/bloom/config.hpp"

#include <fmt/format.h>

#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/models/completed_config.hpp"

namespace mobula::models {

DecoderConfig read_bloom_config(const Json& json) {
  CompletedConfig c(json);
  c.adopt("hidden_size", "n_embed");
  c.adopt("n_layer", "num_hidden_layers");
  c.adopt("n_head", "num_attention_heads");
  if (!c.json().contains("architectures")) c.json()["architectures"] = {"BloomForCausalLM"};
  DecoderConfig config;
  config.family = "bloom";
  config.vocab_size = c.integer("vocab_size", 250880);
  config.hidden = config.embedding_width = c.integer("hidden_size", 64, 1, 1 << 20);
  config.inner = 4 * config.hidden;
  config.layers.resize(static_cast<std::size_t>(c.integer("n_layer", 2, 1, 4096)));
  config.num_heads = config.num_kv_heads = c.integer("n_head", 8, 1, 1 << 16);
  if (config.hidden % config.num_heads != 0) {
    throw_invalid(
        fmt::format("config.json: hidden_size {} is not a multiple of n_head {}", config.hidden, config.num_heads));
  }
  config.head_dim = config.hidden / config.num_heads;
  config.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  config.positions = PositionKind::alibi;
  // Linear biases know no longest text; seq_length says what the model was trained on.
  config.context = c.reader().integer("seq_length", 1 << 20);
  config.norm = nn::NormKind::layer;
  config.norm_eps = c.number("layer_norm_epsilon", 1e-5, 0.0, 1.0);
  config.block =
      c.boolean("apply_residual_connection_post_layernorm", false) ? BlockKind::normed_residual : BlockKind::pre_norm;
  config.qkv = QkvLayout::per_head;
  config.qkv_bias = config.attention_out_bias = config.mlp_bias = true;
  config.mlp = MlpKind::plain;
  config.activation = nn::Activation::gelu_tanh;
  config.residual_dropout = c.number("hidden_dropout", 0.0, 0.0, 0.999);
  config.attention_dropout = c.number("attention_dropout", 0.0, 0.0, 0.999);
  config.initializer_range = c.number("initializer_range", 0.02, 0.0, 10.0);
  config.tied_head = c.boolean("tie_word_embeddings", true);
  config.eos_ids = c.eos_token_ids({2});
  config.names = {.embedding = "transformer.word_embeddings",
                  .embedding_norm = "transformer.word_embeddings_layernorm",
                  .final_norm = "transformer.ln_f",
                  .layers = "transformer.h.",
                  .qkv = "self_attention.query_key_value",
                  .attention_out = "self_attention.dense",
                  .up = "mlp.dense_h_to_4h",
                  .down = "mlp.dense_4h_to_h"};
  config.source = c.json();
  return config;
}

}  // namespace mobula::models
