#include "mobula/models/mixtral/config.hpp"

#include "mobula/models/decoder/experts.hpp"
#include "mobula/models/decoder/read_config.hpp"

namespace mobula::models {

DecoderConfig read_mixtral_config(const Json& json) {
  CompletedConfig completed(json);
  DecoderConfig config = read_decoder_config(completed, {.family = "mixtral",
                                                         .architecture = "MixtralForCausalLM",
                                                         .inner = 14336,
                                                         .num_kv_heads = 8,
                                                         .context = 4096 * 32,
                                                         .norm_eps = 1e-5,
                                                         .eos_ids = {2}});
  read_experts(completed, config, {.num_key = "num_local_experts", .num_experts = 8, .num_chosen = 2});
  config.experts.inner = config.inner;
  config.experts.normalize_weights = true;
  for (DecoderLayerConfig& layer : config.layers) layer.has_experts = true;
  config.names.router = "block_sparse_moe.gate";
  config.names.experts = "block_sparse_moe.experts.";
  config.names.expert_gate = "w1";
  config.names.expert_up = "w3";
  config.names.expert_down = "w2";
  const std::int64_t window = completed.integer_or_none("sliding_window", 0);
  for (DecoderLayerConfig& layer : config.layers) layer.window = window;
  read_common_rotary(completed, config, 1e6);
  config.source = completed.json();
  return config;
}

}  // namespace mobula::models
