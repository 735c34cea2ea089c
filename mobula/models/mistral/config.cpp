#include "mobula/models/mistral/config.hpp"

#include "mobula/models/decoder/read_config.hpp"

namespace mobula::models {

DecoderConfig read_mistral_config(const Json& json) {
  CompletedConfig completed(json);
  DecoderConfig config = read_decoder_config(completed, {.family = "mistral",
                                                         .architecture = "MistralForCausalLM",
                                                         .inner = 14336,
                                                         .num_kv_heads = 8,
                                                         .context = 4096 * 32,
                                                         .eos_ids = {2}});
  const std::int64_t window = completed.integer_or_none("sliding_window", 4096);
  for (DecoderLayerConfig& layer : config.layers) layer.window = window;
  read_common_rotary(completed, config);
  config.source = completed.json();
  return config;
}

}  // namespace mobula::models
