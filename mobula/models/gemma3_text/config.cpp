#include "mobula/models/gemma3_text/config.hpp"

#include "mobula/models/gemma2/gemma.hpp"
#include "mobula/models/rotary_config.hpp"

namespace mobula::models {
namespace {

// Returns the settings of one type of layer alone, in the new spelling. In the old one, rope_theta and rope_scaling belong
// to full attention and rope_local_base_freq to the windowed layers.
Json rotary_settings(const ConfigReader& config, const char* layer_type, const char* theta_key, double theta,
                     bool takes_scaling) {
  Json settings = Json::object();
  if (const auto all = config.object("rope_parameters")) {
    if (const auto mine = all->object(layer_type)) settings = mine->json();
  }
  if (takes_scaling) {
    if (const auto scaling = config.object("rope_scaling")) settings.update(scaling->json());
  }
  if (!settings.contains("rope_theta")) settings["rope_theta"] = config.number(theta_key, theta, 1e-6, 1e12);
  return {{"rope_parameters", settings}};
}

}  // namespace

DecoderConfig read_gemma3_text_config(const Json& json) {
  CompletedConfig completed(json);
  DecoderConfig config =
      read_gemma_config(completed,
                        {.family = "gemma3_text",
                         .architecture = "Gemma3ForCausalLM",
                         .vocab_size = 262208,
                         .hidden = 2304,
                         .inner = 9216,
                         .num_layers = 26,
                         .num_heads = 8,
                         .num_kv_heads = 4,
                         .head_dim = 256,
                         .context = 131072,
                         .tied_head = true,
                         .eos_ids = {1},
                         .activation_key = "hidden_activation",
                         .activation = "gelu_pytorch_tanh"},
                        [](const CompletedConfig& c, std::int64_t layer) {
                          return (layer + 1) % c.reader().integer("sliding_window_pattern", 6, 1, 4096) != 0;
                        });
  config.normalize_heads = true;
  // attn_logit_softcapping is in the configuration class, but transformers' Gemma 3 doesn't apply it.
  config.logits_softcap = completed.number_or_none("final_logit_softcapping", 0.0);
  const RotaryDefaults defaults{.head_dim = config.head_dim, .max_positions = config.context};
  const Json full = rotary_settings(completed.reader(), "full_attention", "rope_theta", 1e6, true);
  const Json windowed = rotary_settings(completed.reader(), "sliding_attention", "rope_local_base_freq", 1e4, false);
  config.rotary = {read_rotary(ConfigReader(full), defaults), read_rotary(ConfigReader(windowed), defaults)};
  const std::vector<std::string> types = completed.reader().texts("layer_types");
  for (std::size_t i = 0; i < types.size(); ++i) config.layers[i].rotary = types[i] == "sliding_attention" ? 1 : 0;
  config.source = completed.json();
  return config;
}

}  // namespace mobula::models
