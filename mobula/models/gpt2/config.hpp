/// GPT-2's configuration as config.json holds it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/models/decoder/config.hpp"
#include "mobula/nn/generate/engine.hpp"

namespace mobula::models {

/// Fields and defaults are those of transformers' GPT2Config.
struct Gpt2Config {
  std::int64_t vocab_size = 50257;
  std::int64_t n_positions = 1024;
  std::int64_t n_embd = 768;
  std::int64_t n_layer = 12;
  std::int64_t n_head = 12;
  std::int64_t n_inner = 0;  ///< 0 is 4 * n_embd
  std::string activation_function = "gelu_new";
  double resid_pdrop = 0.1;
  double embd_pdrop = 0.1;
  double attn_pdrop = 0.1;
  double layer_norm_epsilon = 1e-5;
  double initializer_range = 0.02;
  bool scale_attn_weights = true;
  bool scale_attn_by_inverse_layer_idx = false;
  bool tie_word_embeddings = true;
  std::vector<nn::TokenId> eos_token_ids = {50256};
  Json source = Json::object();  ///< config.json as read: keys we don't use are written back unchanged

  std::int64_t inner() const noexcept { return n_inner == 0 ? 4 * n_embd : n_inner; }

  /// Reads config.json; throws Error(invalid_argument) naming the key that is out of range or of the wrong
  /// type, and Error(unsupported) for what this model doesn't do.
  static Gpt2Config from_json(const Json& json);
  /// Returns config.json with what we use written over what was read.
  Json to_json() const;
  /// Returns the model as the decode loop is told of it; its own parameters go by the same names.
  DecoderConfig describe() const;
};

/// Returns Gpt2Config::from_json(config).describe().
DecoderConfig read_gpt2_config(const Json& config);

}  // namespace mobula::models
