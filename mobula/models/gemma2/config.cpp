#include "mobula/models/gemma2/config.hpp"

#include "mobula/models/gemma2/gemma.hpp"

namespace mobula::models {

DecoderConfig read_gemma2_config(const Json& json) {
  CompletedConfig completed(json);
  DecoderConfig config = read_gemma_config(completed,
                                           {.family = "gemma2",
                                            .architecture = "Gemma2ForCausalLM",
                                            .vocab_size = 256000,
                                            .hidden = 2304,
                                            .inner = 9216,
                                            .num_layers = 26,
                                            .num_heads = 8,
                                            .num_kv_heads = 4,
                                            .head_dim = 256,
                                            .context = 8192,
                                            .tied_head = true,
                                            .eos_ids = {1},
                                            .activation_key = "hidden_activation",
                                            .activation = "gelu_pytorch_tanh"},
                                           [](const CompletedConfig&, std::int64_t layer) { return layer % 2 == 0; });
  config.attention_softcap = completed.number_or_none("attn_logit_softcapping", 50.0);
  config.logits_softcap = completed.number_or_none("final_logit_softcapping", 30.0);
  read_common_rotary(completed, config);
  config.source = completed.json();
  return config;
}

}  // namespace mobula::models
