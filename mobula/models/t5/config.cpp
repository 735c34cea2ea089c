#include "mobula/models/t5/config.hpp"

#include <fmt/format.h>

#include <string>

#include "mobula/base/error.hpp"
#include "mobula/models/completed_config.hpp"

namespace mobula::models {

T5Config T5Config::from_json(const Json& json) {
  CompletedConfig c(json);
  for (const auto& [key, alias] : {std::pair{"d_model", "hidden_size"}, std::pair{"num_heads", "num_attention_heads"},
                                   std::pair{"num_layers", "num_hidden_layers"}, std::pair{"d_kv", "head_dim"}}) {
    c.adopt(key, alias);
  }
  T5Config config;
  config.vocab_size = c.integer("vocab_size", config.vocab_size);
  config.hidden = c.integer("d_model", config.hidden, 1, 1 << 20);
  config.head_dim = c.integer("d_kv", config.head_dim, 1, 1 << 16);
  config.inner = c.integer("d_ff", config.inner, 1, 1 << 22);
  config.num_layers = c.integer("num_layers", config.num_layers, 1, 4096);
  config.num_decoder_layers = c.integer("num_decoder_layers", config.num_layers, 1, 4096);
  config.num_heads = c.integer("num_heads", config.num_heads, 1, 1 << 16);
  // The encoder halves them, and half of what is left is exact.
  config.num_buckets = c.integer("relative_attention_num_buckets", config.num_buckets, 4, 1 << 16);
  config.max_distance = c.integer("relative_attention_max_distance", config.max_distance, config.num_buckets);
  config.dropout = c.number("dropout_rate", config.dropout, 0.0, 0.999);
  config.norm_eps = c.number("layer_norm_epsilon", config.norm_eps, 0.0, 1.0);
  config.initializer_factor = c.number("initializer_factor", config.initializer_factor, 0.0, 100.0);
  const std::string projection = c.text("feed_forward_proj", "relu");
  config.gated = projection.starts_with("gated-");
  const std::string activation = config.gated ? projection.substr(6) : projection;
  // "gated-gelu" has always meant the tanh approximation.
  config.activation = parse_activation("feed_forward_proj", projection == "gated-gelu" ? "gelu_new" : activation);
  // T5 1.1 and later say so by tie_word_embeddings: false, newer files by a key of its own.
  const bool tied = c.reader().boolean("tie_word_embeddings", true);
  config.scale_outputs = c.boolean("scale_decoder_outputs", tied);
  config.separate_head = !tied;
  config.decoder_start_id =
      c.reader().integer("decoder_start_token_id", c.reader().integer("pad_token_id", 0, 0), 0, config.vocab_size - 1);
  config.eos_ids = c.eos_token_ids(config.eos_ids);
  if (!c.json().contains("architectures")) c.json()["architectures"] = {"T5ForConditionalGeneration"};
  config.source = c.json();
  return config;
}

}  // namespace mobula::models
