#include "mobula/models/gpt2/config.hpp"

#include <fmt/format.h>

#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/models/config_reader.hpp"

namespace mobula::models {

Gpt2Config Gpt2Config::from_json(const Json& json) {
  const ConfigReader reader(json);
  Gpt2Config config;
  config.source = json;
  config.vocab_size = reader.integer("vocab_size", config.vocab_size);
  config.n_positions = reader.integer("n_positions", config.n_positions);
  config.n_embd = reader.integer("n_embd", config.n_embd, 1, 1 << 20);
  config.n_layer = reader.integer("n_layer", config.n_layer, 1, 4096);
  config.n_head = reader.integer("n_head", config.n_head, 1, 1 << 16);
  config.n_inner = reader.integer("n_inner", 0, 1, 1 << 22);
  config.activation_function = reader.text("activation_function", config.activation_function);
  config.resid_pdrop = reader.number("resid_pdrop", config.resid_pdrop, 0.0, 0.999);
  config.embd_pdrop = reader.number("embd_pdrop", config.embd_pdrop, 0.0, 0.999);
  config.attn_pdrop = reader.number("attn_pdrop", config.attn_pdrop, 0.0, 0.999);
  config.layer_norm_epsilon = reader.number("layer_norm_epsilon", config.layer_norm_epsilon);
  config.initializer_range = reader.number("initializer_range", config.initializer_range);
  config.scale_attn_weights = reader.boolean("scale_attn_weights", true);
  config.scale_attn_by_inverse_layer_idx = reader.boolean("scale_attn_by_inverse_layer_idx", false);
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", true);
  config.eos_token_ids = reader.token_ids("eos_token_id", config.eos_token_ids);
  parse_activation("activation_function", config.activation_function);
  if (config.n_embd % config.n_head != 0) {
    throw_invalid(fmt::format("config.json: n_embd {} is not a multiple of n_head {}", config.n_embd, config.n_head));
  }
  if (reader.boolean("add_cross_attention", false)) {
    throw Error(ErrorCode::unsupported, "config.json: add_cross_attention is not supported for gpt2");
  }
  return config;
}

Json Gpt2Config::to_json() const {
  Json json = source;
  if (!json.contains("architectures")) json["architectures"] = {"GPT2LMHeadModel"};
  json["model_type"] = "gpt2";
  json["vocab_size"] = vocab_size;
  json["n_positions"] = n_positions;
  json["n_embd"] = n_embd;
  json["n_layer"] = n_layer;
  json["n_head"] = n_head;
  json["n_inner"] = n_inner == 0 ? Json(nullptr) : Json(n_inner);
  json["activation_function"] = activation_function;
  json["resid_pdrop"] = resid_pdrop;
  json["embd_pdrop"] = embd_pdrop;
  json["attn_pdrop"] = attn_pdrop;
  json["layer_norm_epsilon"] = layer_norm_epsilon;
  json["initializer_range"] = initializer_range;
  json["scale_attn_weights"] = scale_attn_weights;
  json["scale_attn_by_inverse_layer_idx"] = scale_attn_by_inverse_layer_idx;
  json["tie_word_embeddings"] = tie_word_embeddings;
  if (eos_token_ids.empty()) {
    json["eos_token_id"] = nullptr;
  } else if (eos_token_ids.size() == 1) {
    json["eos_token_id"] = eos_token_ids[0];
  } else {
    json["eos_token_id"] = eos_token_ids;
  }
  if (!json.contains("bos_token_id")) {
    json["bos_token_id"] = eos_token_ids.empty() ? Json(nullptr) : Json(eos_token_ids[0]);
  }
  return json;
}

DecoderConfig Gpt2Config::describe() const {
  DecoderConfig config;
  config.family = "gpt2";
  config.source = to_json();
  config.names = {.embedding = "transformer.wte",
                  .positions = "transformer.wpe",
                  .final_norm = "transformer.ln_f",
                  .layers = "transformer.h.",
                  .norm_1 = "ln_1",
                  .norm_2 = "ln_2",
                  .qkv = "attn.c_attn",
                  .attention_out = "attn.c_proj",
                  .up = "mlp.c_fc",
                  .down = "mlp.c_proj"};
  config.vocab_size = vocab_size;
  config.context = n_positions;
  config.hidden = config.embedding_width = n_embd;
  config.inner = inner();
  config.num_heads = config.num_kv_heads = n_head;
  config.head_dim = n_embd / n_head;
  config.eos_ids = eos_token_ids;
  config.norm = nn::NormKind::layer;
  config.norm_eps = layer_norm_epsilon;
  config.qkv = QkvLayout::side_by_side;
  config.qkv_bias = config.attention_out_bias = config.mlp_bias = true;
  config.attention_scale = scale_attn_weights ? 1.0 / std::sqrt(static_cast<double>(config.head_dim)) : 1.0;
  config.mlp = MlpKind::plain;
  config.inputs_first = true;
  config.activation = nn::parse_activation(activation_function);
  config.tied_head = tie_word_embeddings;
  config.positions = PositionKind::learned;
  config.initializer_range = initializer_range;
  for (std::int64_t i = 0; i < n_layer; ++i) {
    const double divisor = scale_attn_by_inverse_layer_idx ? static_cast<double>(i + 1) : 1.0;
    config.layers.push_back({.attention_factor = 1.0 / divisor});
  }
  return config;
}

DecoderConfig read_gpt2_config(const Json& config) {
  return Gpt2Config::from_json(config).describe();
}

}  // namespace mobula::models
