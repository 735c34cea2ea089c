#include "mobula/models/phi3/config.hpp"

#include "mobula/models/decoder/read_config.hpp"
#include "mobula/models/rotary_config.hpp"

namespace mobula::models {

DecoderConfig read_phi3_config(const Json& json) {
  CompletedConfig completed(json);
  DecoderConfig config = read_decoder_config(completed, {.family = "phi3",
                                                         .architecture = "Phi3ForCausalLM",
                                                         .vocab_size = 32064,
                                                         .hidden = 3072,
                                                         .inner = 8192,
                                                         .context = 4096,
                                                         .norm_eps = 1e-5,
                                                         .eos_ids = {32000}});
  config.qkv = QkvLayout::side_by_side;
  config.mlp = MlpKind::gated_fused;
  config.residual_dropout = completed.number("resid_pdrop", 0.0, 0.0, 0.999);
  config.names.qkv = "self_attn.qkv_proj";
  config.names.up = "mlp.gate_up_proj";
  const std::int64_t window = completed.integer_or_none("sliding_window", 0);
  for (DecoderLayerConfig& layer : config.layers) layer.window = window;
  config.rotary = {read_rotary(completed.reader(), {.head_dim = config.head_dim,
                                                    .max_positions = config.context,
                                                    .original_positions = 4096,
                                                    .yarn_means_longrope = true})};
  config.source = completed.json();
  return config;
}

}  // namespace mobula::models
