#include "mobula/models/gemma2/gemma.hpp"

#include <cmath>

#include "mobula/base/error.hpp"

namespace mobula::models {

DecoderConfig read_gemma_config(CompletedConfig& completed, const DecoderDefaults& defaults,
                                bool (*slides)(const CompletedConfig& json, std::int64_t layer)) {
  DecoderConfig config = read_decoder_config(completed, defaults);
  if (completed.reader().boolean("use_bidirectional_attention", false)) {
    throw Error(ErrorCode::unsupported, "config.json: use_bidirectional_attention is not supported");
  }
  config.norm_offset = 1.0;
  config.block = BlockKind::sandwich;
  config.names.norm_2 = "pre_feedforward_layernorm";
  config.names.after_attention_norm = "post_attention_layernorm";
  config.names.after_mlp_norm = "post_feedforward_layernorm";
  config.qkv_bias = config.attention_out_bias = completed.boolean("attention_bias", false);
  config.attention_scale = 1.0 / std::sqrt(completed.number("query_pre_attn_scalar", 256.0, 1e-6));
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden));
  const std::int64_t window = completed.integer_or_none("sliding_window", 4096);
  const std::vector<bool> sliding = read_sliding_layers(completed, config.layers.size(), slides);
  for (std::size_t i = 0; i < sliding.size(); ++i) config.layers[i].window = sliding[i] ? window : 0;
  write_layer_types(completed, sliding);
  return config;
}

}  // namespace mobula::models
