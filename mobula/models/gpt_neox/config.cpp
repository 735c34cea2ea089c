#include "mobula/models/gpt_neox/config.hpp"

#include "mobula/models/decoder/read_config.hpp"
#include "mobula/models/rotary_config.hpp"

namespace mobula::models {

DecoderConfig read_gpt_neox_config(const Json& json) {
  CompletedConfig c(json);
  DecoderConfig config = read_layer_norm_decoder_config(c,
                                                        {.family = "gpt_neox",
                                                         .architecture = "GPTNeoXForCausalLM",
                                                         .vocab_size = 50432,
                                                         .hidden = 6144,
                                                         .num_layers = 44,
                                                         .num_heads = 64,
                                                         .norm_eps = 1e-5,
                                                         .eos_ids = {2}},
                                                        {.norm_eps = "layer_norm_eps"});
  config.inner = c.integer("intermediate_size", 24576, 1, 1 << 22);
  config.context = c.integer("max_position_embeddings", 2048);
  config.rotary = {read_rotary(c.reader(), {.head_dim = config.head_dim,
                                            .max_positions = config.context,
                                            .partial = 0.25,
                                            .theta_key = "rotary_emb_base",
                                            .partial_key = "rotary_pct"})};
  config.context = stretched_context(config.rotary.front(), config.context);
  config.block = c.boolean("use_parallel_residual", true) ? BlockKind::parallel : BlockKind::pre_norm;
  config.qkv = QkvLayout::per_head;
  config.qkv_bias = config.attention_out_bias = c.boolean("attention_bias", true);
  config.mlp_bias = true;
  config.activation = c.activation("hidden_act", "gelu");
  config.attention_dropout = c.number("attention_dropout", 0.0, 0.0, 0.999);
  config.residual_dropout = config.embedding_dropout = c.number("hidden_dropout", 0.0, 0.0, 0.999);
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
