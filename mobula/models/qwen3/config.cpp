#include "mobula/models/qwen3/config.hpp"

#include "mobula/models/decoder/read_config.hpp"
#include "mobula/models/qwen2/windows.hpp"

namespace mobula::models {

DecoderConfig read_qwen3_config(const Json& json) {
  CompletedConfig completed(json);
  DecoderConfig config = read_decoder_config(completed, {.family = "qwen3",
                                                         .architecture = "Qwen3ForCausalLM",
                                                         .vocab_size = 151936,
                                                         .inner = 22016,
                                                         .num_kv_heads = 32,
                                                         .head_dim = 128,
                                                         .context = 32768});
  config.normalize_heads = true;
  config.qkv_bias = config.attention_out_bias = completed.boolean("attention_bias", false);
  read_qwen_windows(completed, config);
  read_common_rotary(completed, config);
  config.source = completed.json();
  return config;
}

}  // namespace mobula::models
