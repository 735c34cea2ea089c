/// What the config.json files of many decoders have in common: of those before Llama, and of Llama's descendants.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/models/completed_config.hpp"
#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Defaults of a family, as transformers' configuration class has them.
struct DecoderDefaults {
  std::string_view family;
  std::string_view architecture;  ///< class that transformers loads
  std::int64_t vocab_size = 32000;
  std::int64_t hidden = 4096;
  std::int64_t inner = 11008;
  std::int64_t num_layers = 32;
  std::int64_t num_heads = 32;
  std::int64_t num_kv_heads = 0;  ///< 0: as num_heads
  std::int64_t head_dim = 0;      ///< 0: hidden / num_heads
  std::int64_t context = 2048;
  double norm_eps = 1e-6;
  bool tied_head = false;
  std::vector<nn::TokenId> eos_ids;
  std::string_view activation_key = "hidden_act";
  std::string_view activation = "silu";
};

/// Reads sizes, norm, activation, head and dropout: everything but rotary settings, windows and what a family has of its
/// own. Layers get neither. Throws Error(invalid_argument) naming the key.
DecoderConfig read_decoder_config(CompletedConfig& json, const DecoderDefaults& defaults);

/// Keys that the families before Llama spell differently.
struct LayerNormDecoderKeys {
  std::string_view hidden = "hidden_size";
  std::string_view num_layers = "num_hidden_layers";
  std::string_view num_heads = "num_attention_heads";
  std::string_view norm_eps;  ///< empty: not in the file, DecoderDefaults::norm_eps counts
  std::string_view initializer_range = "initializer_range";
};

/// Reads what decoders with layer norms, as many key-value heads as heads and an MLP without a gate have in common: sizes
/// but for the MLP's and the context, norm, head, initialization. Throws Error(invalid_argument) naming the key.
DecoderConfig read_layer_norm_decoder_config(CompletedConfig& json, const DecoderDefaults& defaults,
                                             const LayerNormDecoderKeys& keys);

/// Reads rotary settings with the usual defaults for all layers, and stretches the context accordingly.
void read_common_rotary(const CompletedConfig& json, DecoderConfig& config, double theta = 10000.0);

/// Returns for each layer whether its attention slides over a window: by layer_types where config.json has them, else by
/// `otherwise(layer)`. Throws Error(invalid_argument) for another number of types than layers, or an unknown type.
std::vector<bool> read_sliding_layers(const CompletedConfig& json, std::size_t num_layers,
                                      bool (*otherwise)(const CompletedConfig& json, std::int64_t layer));

/// Writes layer_types, which transformers saves beside the old keys.
void write_layer_types(CompletedConfig& json, const std::vector<bool>& sliding);

}  // namespace mobula::models
