#include "mobula/models/opt/config.hpp"

#include "mobula/models/decoder/read_config.hpp"

namespace mobula::models {

DecoderConfig read_opt_config(const Json& json) {
  CompletedConfig c(json);
  DecoderConfig config = read_layer_norm_decoder_config(c,
                                                        {.family = "opt",
                                                         .architecture = "OPTForCausalLM",
                                                         .vocab_size = 50272,
                                                         .hidden = 768,
                                                         .num_layers = 12,
                                                         .num_heads = 12,
                                                         .norm_eps = 1e-5,
                                                         .tied_head = true,
                                                         .eos_ids = {2}},
                                                        {.initializer_range = "init_std"});
  config.embedding_width = c.integer("word_embed_proj_dim", config.hidden, 1, 1 << 20);
  config.inner = c.integer("ffn_dim", 3072, 1, 1 << 22);
  config.positions = PositionKind::learned;
  config.position_offset = 2;
  config.context = c.integer("max_position_embeddings", 2048);
  config.norm_has_parameters = c.boolean("layer_norm_elementwise_affine", true);
  const bool before = c.boolean("do_layer_norm_before", true);
  config.block = before ? BlockKind::pre_norm : BlockKind::post_norm;
  config.has_final_norm = before && !c.boolean("_remove_final_layer_norm", false);
  config.qkv_bias = config.attention_out_bias = config.mlp_bias = c.boolean("enable_bias", true);
  config.activation = c.activation("activation_function", "relu");
  config.residual_dropout = c.number("dropout", 0.1, 0.0, 0.999);
  config.attention_dropout = c.number("attention_dropout", 0.0, 0.0, 0.999);
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
