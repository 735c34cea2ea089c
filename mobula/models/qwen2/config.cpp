#include "mobula/models/qwen2/config.hpp"

#include "mobula/models/decoder/read_config.hpp"
#include "mobula/models/qwen2/windows.hpp"

namespace mobula::models {

DecoderConfig read_qwen2_config(const Json& json) {
  CompletedConfig completed(json);
  DecoderConfig config = read_decoder_config(completed, {.family = "qwen2",
                                                         .architecture = "Qwen2ForCausalLM",
                                                         .vocab_size = 151936,
                                                         .inner = 22016,
                                                         .num_kv_heads = 32,
                                                         .context = 32768});
  config.qkv_bias = true;
  read_qwen_windows(completed, config);
  read_common_rotary(completed, config);
  config.source = completed.json();
  return config;
}

}  // namespace mobula::models
