/// T5's configuration as config.json holds it.
#pragma once

#include <cstdint>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/generate/engine.hpp"
#include "mobula/nn/layers/activation_kind.hpp"

namespace mobula::models {

/// Fields and defaults are those of transformers' T5Config.
struct T5Config {
  Json source;  ///< config.json as read, with what we use filled in
  std::int64_t vocab_size = 32128;
  std::int64_t hidden = 512;    ///< d_model
  std::int64_t head_dim = 64;   ///< d_kv
  std::int64_t inner = 2048;    ///< d_ff
  std::int64_t num_layers = 6;  ///< of the encoder
  std::int64_t num_decoder_layers = 6;
  std::int64_t num_heads = 8;
  std::int64_t num_buckets = 32;
  std::int64_t max_distance = 128;
  double dropout = 0.1;
  double norm_eps = 1e-6;
  double initializer_factor = 1.0;
  bool gated = false;  ///< feed_forward_proj begins with "gated-"
  nn::Activation activation = nn::Activation::relu;
  bool scale_outputs = true;  ///< the decoder's vectors are divided by sqrt(d_model) before the head
  /// The head is a table of its own. A checkpoint that holds one has it, whatever tie_word_embeddings says.
  bool separate_head = false;
  std::int64_t decoder_start_id = 0;
  std::vector<nn::TokenId> eos_ids = {1};  ///< tokens that end an answer

  /// Reads config.json. Throws Error naming the key that is wrong.
  static T5Config from_json(const Json& json);
};

}  // namespace mobula::models
