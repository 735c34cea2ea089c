#include "mobula/models/qwen3_moe/config.hpp"

#include "mobula/models/decoder/experts.hpp"
#include "mobula/models/decoder/read_config.hpp"

namespace mobula::models {

DecoderConfig read_qwen3_moe_config(const Json& json) {
  CompletedConfig completed(json);
  DecoderConfig config = read_decoder_config(completed, {.family = "qwen3_moe",
                                                         .architecture = "Qwen3MoeForCausalLM",
                                                         .vocab_size = 151936,
                                                         .hidden = 2048,
                                                         .inner = 6144,
                                                         .num_layers = 24,
                                                         .num_kv_heads = 4,
                                                         .context = 32768});
  config.normalize_heads = true;
  config.qkv_bias = config.attention_out_bias = completed.boolean("attention_bias", false);
  read_experts(completed, config, {.num_experts = 128, .num_chosen = 8, .inner = 768});
  config.experts.normalize_weights = completed.boolean("norm_topk_prob", false);
  read_sparse_layers(completed, config);
  const bool slides = completed.boolean("use_sliding_window", false);
  const std::int64_t window = slides ? completed.integer_or_none("sliding_window", 4096) : 0;
  for (DecoderLayerConfig& layer : config.layers) layer.window = window;
  read_common_rotary(completed, config);
  config.source = completed.json();
  return config;
}

}  // namespace mobula::models
