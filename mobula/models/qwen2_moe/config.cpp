#include "mobula/models/qwen2_moe/config.hpp"

#include "mobula/models/decoder/experts.hpp"
#include "mobula/models/decoder/read_config.hpp"

namespace mobula::models {

DecoderConfig read_qwen2_moe_config(const Json& json) {
  CompletedConfig completed(json);
  DecoderConfig config = read_decoder_config(completed, {.family = "qwen2_moe",
                                                         .architecture = "Qwen2MoeForCausalLM",
                                                         .vocab_size = 151936,
                                                         .hidden = 2048,
                                                         .inner = 5632,
                                                         .num_layers = 24,
                                                         .num_heads = 16,
                                                         .num_kv_heads = 16,
                                                         .context = 32768});
  config.qkv_bias = completed.boolean("qkv_bias", true);
  read_experts(completed, config, {.num_experts = 60, .num_chosen = 4, .inner = 1408});
  config.experts.shared_inner = completed.integer("shared_expert_intermediate_size", 5632, 1, 1 << 22);
  config.experts.normalize_weights = completed.boolean("norm_topk_prob", false);
  read_sparse_layers(completed, config);
  const bool slides = completed.boolean("use_sliding_window", false);
  completed.integer("max_window_layers", 28, 0, 4096);
  const std::int64_t window = slides ? completed.integer_or_none("sliding_window", 4096) : 0;
  const std::vector<bool> sliding =
      read_sliding_layers(completed, config.layers.size(), [](const CompletedConfig& c, std::int64_t layer) {
        return c.reader().boolean("use_sliding_window", false) && layer % 2 == 0 &&
               layer < c.reader().integer("max_window_layers", 28, 0, 4096);
      });
  for (std::size_t i = 0; i < sliding.size(); ++i) config.layers[i].window = sliding[i] ? window : 0;
  write_layer_types(completed, sliding);
  read_common_rotary(completed, config);
  config.source = completed.json();
  return config;
}

}  // namespace mobula::models
