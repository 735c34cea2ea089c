#include "mobula/models/gptj/config.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/models/decoder/read_config.hpp"

namespace mobula::models {

DecoderConfig read_gptj_config(const Json& json) {
  CompletedConfig c(json);
  c.adopt("n_positions", "max_position_embeddings");
  c.adopt("n_embd", "hidden_size");
  c.adopt("n_head", "num_attention_heads");
  c.adopt("n_layer", "num_hidden_layers");
  DecoderConfig config = read_layer_norm_decoder_config(
      c,
      {.family = "gptj",
       .architecture = "GPTJForCausalLM",
       .vocab_size = 50400,
       .hidden = 4096,
       .num_layers = 28,
       .num_heads = 16,
       .norm_eps = 1e-5,
       .eos_ids = {50256}},
      {.hidden = "n_embd", .num_layers = "n_layer", .num_heads = "n_head", .norm_eps = "layer_norm_epsilon"});
  config.context = c.integer("n_positions", 2048);
  const std::int64_t inner = c.integer_or_none("n_inner", 0);
  config.inner = inner == 0 ? 4 * config.hidden : inner;
  const std::int64_t turning = c.integer("rotary_dim", 64, 2, config.head_dim);
  if (turning % 2 != 0 || turning > config.head_dim) {  // what the file leaves out may not fit either
    throw_invalid(
        fmt::format("config.json: rotary_dim is {}, expected an even number up to n_embd / n_head, which is {}",
                    turning, config.head_dim));
  }
  config.rotary = {{.dim = turning, .interleaved = true}};
  config.block = BlockKind::parallel_shared_norm;
  config.mlp_bias = true;
  config.head_bias = true;
  config.activation = c.activation("activation_function", "gelu_new");
  config.residual_dropout = c.number("resid_pdrop", 0.0, 0.0, 0.999);
  config.embedding_dropout = c.number("embd_pdrop", 0.0, 0.0, 0.999);
  config.attention_dropout = c.number("attn_pdrop", 0.0, 0.0, 0.999);
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
