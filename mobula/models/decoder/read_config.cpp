#include "mobula/models/decoder/read_config.hpp"

#include <fmt/format.h>

#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/models/rotary_config.hpp"

namespace mobula::models {
namespace {

DecoderConfig begin_config(CompletedConfig& json, const DecoderDefaults& defaults) {
  DecoderConfig config;
  config.family = defaults.family;
  if (!json.json().contains("architectures")) {
    json.json()["architectures"] = Json::array({std::string(defaults.architecture)});
  }
  config.vocab_size = json.integer("vocab_size", defaults.vocab_size);
  config.tied_head = json.boolean("tie_word_embeddings", defaults.tied_head);
  config.eos_ids = json.eos_token_ids(defaults.eos_ids);
  return config;
}

}  // namespace

DecoderConfig read_layer_norm_decoder_config(CompletedConfig& json, const DecoderDefaults& defaults,
                                             const LayerNormDecoderKeys& keys) {
  const DecoderDefaults& d = defaults;
  DecoderConfig config = begin_config(json, d);
  config.hidden = config.embedding_width = json.integer(keys.hidden, d.hidden, 1, 1 << 20);
  config.layers.resize(static_cast<std::size_t>(json.integer(keys.num_layers, d.num_layers, 1, 4096)));
  config.num_heads = config.num_kv_heads = json.integer(keys.num_heads, d.num_heads, 1, 1 << 16);
  if (config.hidden % config.num_heads != 0) {
    throw_invalid(fmt::format("config.json: {} {} is not a multiple of {} {}", keys.hidden, config.hidden,
                              keys.num_heads, config.num_heads));
  }
  config.head_dim = config.hidden / config.num_heads;
  config.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  config.norm = nn::NormKind::layer;
  config.norm_eps = keys.norm_eps.empty() ? d.norm_eps : json.number(keys.norm_eps, d.norm_eps, 0.0, 1.0);
  config.mlp = MlpKind::plain;
  config.initializer_range = json.number(keys.initializer_range, 0.02, 0.0, 10.0);
  return config;
}

DecoderConfig read_decoder_config(CompletedConfig& json, const DecoderDefaults& defaults) {
  const DecoderDefaults& d = defaults;
  DecoderConfig config = begin_config(json, d);
  config.hidden = json.integer("hidden_size", d.hidden, 1, 1 << 20);
  config.embedding_width = config.hidden;
  config.inner = json.integer("intermediate_size", d.inner, 1, 1 << 22);
  config.layers.resize(static_cast<std::size_t>(json.integer("num_hidden_layers", d.num_layers, 1, 4096)));
  config.num_heads = json.integer("num_attention_heads", d.num_heads, 1, 1 << 16);
  config.num_kv_heads =
      json.integer("num_key_value_heads", d.num_kv_heads == 0 ? config.num_heads : d.num_kv_heads, 1, 1 << 16);
  if (config.num_heads % config.num_kv_heads != 0) {
    throw_invalid(fmt::format("config.json: num_attention_heads {} is not a multiple of num_key_value_heads {}",
                              config.num_heads, config.num_kv_heads));
  }
  const bool says_head_dim = json.reader().has("head_dim");
  if (!says_head_dim && d.head_dim == 0 && config.hidden % config.num_heads != 0) {
    throw_invalid(fmt::format("config.json: hidden_size {} is not a multiple of num_attention_heads {}", config.hidden,
                              config.num_heads));
  }
  config.head_dim =
      json.integer("head_dim", d.head_dim == 0 ? config.hidden / config.num_heads : d.head_dim, 1, 1 << 16);
  config.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  config.context = json.integer("max_position_embeddings", d.context);
  config.norm_eps = json.number("rms_norm_eps", d.norm_eps, 0.0, 1.0);
  config.activation = json.activation(d.activation_key, d.activation);
  config.initializer_range = json.number("initializer_range", 0.02, 0.0, 10.0);
  config.attention_dropout = json.number("attention_dropout", 0.0, 0.0, 0.999);
  return config;
}

void read_common_rotary(const CompletedConfig& json, DecoderConfig& config, double theta) {
  config.rotary = {
      read_rotary(json.reader(), {.head_dim = config.head_dim, .max_positions = config.context, .theta = theta})};
  config.context = stretched_context(config.rotary.front(), config.context);
}

std::vector<bool> read_sliding_layers(const CompletedConfig& json, std::size_t num_layers,
                                      bool (*otherwise)(const CompletedConfig& json, std::int64_t layer)) {
  std::vector<bool> sliding(num_layers);
  if (!json.reader().has("layer_types")) {
    for (std::size_t i = 0; i < num_layers; ++i) sliding[i] = otherwise(json, static_cast<std::int64_t>(i));
    return sliding;
  }
  const std::vector<std::string> types = json.reader().texts("layer_types");
  if (types.size() != num_layers) {
    throw_invalid(fmt::format("config.json: layer_types has {} entries for {} layers", types.size(), num_layers));
  }
  for (std::size_t i = 0; i < num_layers; ++i) {
    if (types[i] != "sliding_attention" && types[i] != "full_attention") {
      throw_invalid(fmt::format("config.json: layer_types[{}] is '{}', expected full_attention or sliding_attention", i,
                                types[i].substr(0, 80)));
    }
    sliding[i] = types[i] == "sliding_attention";
  }
  return sliding;
}

void write_layer_types(CompletedConfig& json, const std::vector<bool>& sliding) {
  Json types = Json::array();
  for (const bool one : sliding) types.push_back(one ? "sliding_attention" : "full_attention");
  json.json()["layer_types"] = types;
}

}  // namespace mobula::models
