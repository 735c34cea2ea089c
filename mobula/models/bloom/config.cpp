#include "mobula/models/bloom/config.hpp"

#include "mobula/models/decoder/read_config.hpp"

namespace mobula::models {

DecoderConfig read_bloom_config(const Json& json) {
  CompletedConfig c(json);
  c.adopt("hidden_size", "n_embed");
  c.adopt("n_layer", "num_hidden_layers");
  c.adopt("n_head", "num_attention_heads");
  DecoderConfig config = read_layer_norm_decoder_config(
      c,
      {.family = "bloom",
       .architecture = "BloomForCausalLM",
       .vocab_size = 250880,
       .hidden = 64,
       .num_layers = 2,
       .num_heads = 8,
       .norm_eps = 1e-5,
       .tied_head = true,
       .eos_ids = {2}},
      {.num_layers = "n_layer", .num_heads = "n_head", .norm_eps = "layer_norm_epsilon"});
  config.inner = 4 * config.hidden;
  config.positions = PositionKind::alibi;
  // Linear biases know no longest text; seq_length says what the model was trained on.
  config.context = c.reader().integer("seq_length", 1 << 20);
  config.block =
      c.boolean("apply_residual_connection_post_layernorm", false) ? BlockKind::normed_residual : BlockKind::pre_norm;
  config.qkv = QkvLayout::per_head;
  config.qkv_bias = config.attention_out_bias = config.mlp_bias = true;
  config.activation = nn::Activation::gelu_tanh;
  config.residual_dropout = c.number("hidden_dropout", 0.0, 0.0, 0.999);
  config.attention_dropout = c.number("attention_dropout", 0.0, 0.0, 0.999);
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
