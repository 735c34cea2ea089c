#include "mobula/models/gptj/config.hpp"

#include <fmt/format.h>

#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/models/completed_config.hpp"

namespace mobula::models {

DecoderConfig read_gptj_config(const Json& json) {
  CompletedConfig c(json);
  c.adopt("n_positions", "max_position_embeddings");
  c.adopt("n_embd", "hidden_size");
  c.adopt("n_head", "num_attention_heads");
  c.adopt("n_layer", "num_hidden_layers");
  if (!c.json().contains("architectures")) c.json()["architectures"] = {"GPTJForCausalLM"};
  DecoderConfig config;
  config.family = "gptj";
  config.vocab_size = c.integer("vocab_size", 50400);
  config.context = c.integer("n_positions", 2048);
  config.hidden = config.embedding_width = c.integer("n_embd", 4096, 1, 1 << 20);
  config.layers.resize(static_cast<std::size_t>(c.integer("n_layer", 28, 1, 4096)));
  config.num_heads = config.num_kv_heads = c.integer("n_head", 16, 1, 1 << 16);
  if (config.hidden % config.num_heads != 0) {
    throw_invalid(
        fmt::format("config.json: n_embd {} is not a multiple of n_head {}", config.hidden, config.num_heads));
  }
  config.head_dim = config.hidden / config.num_heads;
  config.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  const std::int64_t inner = c.integer_or_none("n_inner", 0);
  config.inner = inner == 0 ? 4 * config.hidden : inner;
  const std::int64_t turning = c.integer("rotary_dim", 64, 2, config.head_dim);
  if (turning % 2 != 0) throw_invalid(fmt::format("config.json: rotary_dim is {}, expected an even number", turning));
  config.rotary = {{.dim = turning, .interleaved = true}};
  config.norm = nn::NormKind::layer;
  config.norm_eps = c.number("layer_norm_epsilon", 1e-5, 0.0, 1.0);
  config.block = BlockKind::parallel_shared_norm;
  config.mlp = MlpKind::plain;
  config.mlp_bias = true;
  config.head_bias = true;
  config.activation = nn::parse_activation(c.text("activation_function", "gelu_new"));
  config.residual_dropout = c.number("resid_pdrop", 0.0, 0.0, 0.999);
  config.embedding_dropout = c.number("embd_pdrop", 0.0, 0.0, 0.999);
  config.attention_dropout = c.number("attn_pdrop", 0.0, 0.0, 0.999);
  config.initializer_range = c.number("initializer_range", 0.02, 0.0, 10.0);
  config.tied_head = c.boolean("tie_word_embeddings", false);
  config.eos_ids = c.eos_token_ids({50256});
  config.names = {.embedding = "transformer.wte",
                  .final_norm = "transformer.ln_f",
                  .layers = "transformer.h.",
                  .norm_1 = "ln_1",
                  .query = "attn.q_proj",
                  .key = "attn.k_proj",
                  .value = "attn.v_proj",
                  .attention_out = "attn.out_proj",
                  .up = "mlp.fc_in",
                  .down = "mlp.fc_out"};
  config.source = c.json();
  return config;
}

}  // namespace mobula::models
