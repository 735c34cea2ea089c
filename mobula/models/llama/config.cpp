#include "mobula/models/llama/config.hpp"

#include "mobula/models/decoder/read_config.hpp"

namespace mobula::models {

DecoderConfig read_llama_config(const Json& json) {
  CompletedConfig completed(json);
  DecoderConfig config =
      read_decoder_config(completed, {.family = "llama", .architecture = "LlamaForCausalLM", .eos_ids = {2}});
  config.qkv_bias = config.attention_out_bias = completed.boolean("attention_bias", false);
  config.mlp_bias = completed.boolean("mlp_bias", false);
  read_common_rotary(completed, config);
  config.source = completed.json();
  return config;
}

}  // namespace mobula::models
