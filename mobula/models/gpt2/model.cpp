#include "mobula/models/gpt2/model.hpp"

#include <ATen/ops/add.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/nn/layers/attention.hpp"
#include "mobula/nn/layers/cross_entropy.hpp"
#include "mobula/nn/layers/embedding.hpp"
#include "mobula/nn/layers/layer_norm.hpp"
#include "mobula/nn/layers/linear.hpp"

namespace mobula::models {

using nn::Initial;
using nn::WeightLayout;

Gpt2::Gpt2(Gpt2Config config, nn::ParameterSource& source)
    : config_(std::move(config)), activation_(nn::parse_activation(config_.activation_function)) {
  const Gpt2Config& c = config_;
  info_ = {.family = "gpt2",
           .vocab_size = c.vocab_size,
           .context = c.n_positions,
           .num_layers = c.n_layer,
           .num_heads = c.n_head,
           .num_kv_heads = c.n_head,
           .head_dim = c.n_embd / c.n_head,
           .hidden = c.n_embd,
           .eos_ids = c.eos_token_ids};
  const double deviation = c.initializer_range;
  const double residual = deviation / std::sqrt(2.0 * static_cast<double>(c.n_layer));
  const auto table = [&](const std::string& name, std::int64_t rows) {
    return add_parameter(name, source.get(name, {rows, c.n_embd}, Initial::normal(deviation)));
  };
  wte_ = table("transformer.wte.weight", c.vocab_size);
  wpe_ = table("transformer.wpe.weight", c.n_positions);
  for (std::int64_t i = 0; i < c.n_layer; ++i) {
    const std::string name = fmt::format("transformer.h.{}.", i);
    Block block;
    block.ln_1 = add_norm(source, name + "ln_1");
    block.attention_in = add_projection(source, name + "attn.c_attn", c.n_embd, 3 * c.n_embd, deviation);
    block.attention_out = add_projection(source, name + "attn.c_proj", c.n_embd, c.n_embd, residual);
    block.ln_2 = add_norm(source, name + "ln_2");
    block.mlp_in = add_projection(source, name + "mlp.c_fc", c.n_embd, c.inner(), deviation);
    block.mlp_out = add_projection(source, name + "mlp.c_proj", c.inner(), c.n_embd, residual);
    block.attention_scale = c.scale_attn_weights ? 1.0 / std::sqrt(static_cast<double>(info_.head_dim)) : 1.0;
    if (c.scale_attn_by_inverse_layer_idx) block.attention_scale /= static_cast<double>(i + 1);
    blocks_.push_back(std::move(block));
  }
  ln_f_ = add_norm(source, "transformer.ln_f");
  head_ = c.tie_word_embeddings ? wte_ : table("lm_head.weight", c.vocab_size);
}

Gpt2::Norm Gpt2::add_norm(nn::ParameterSource& source, const std::string& name) {
  const std::string weight = name + ".weight", bias = name + ".bias";
  return {add_parameter(weight, source.get(weight, {config_.n_embd}, Initial::ones())),
          add_parameter(bias, source.get(bias, {config_.n_embd}, Initial::zeros()))};
}

Gpt2::Projection Gpt2::add_projection(nn::ParameterSource& source, const std::string& name, std::int64_t in,
                                      std::int64_t out, double deviation) {
  const std::string weight = name + ".weight", bias = name + ".bias";
  return {add_parameter(weight, source.get(weight, {in, out}, Initial::normal(deviation))),
          add_parameter(bias, source.get(bias, {out}, Initial::zeros()))};
}

at::Tensor Gpt2::project(const at::Tensor& x, const Projection& projection) const {
  return nn::linear(x, projection.weight, projection.bias, WeightLayout::in_out, precision());
}

at::Tensor Gpt2::drop(const at::Tensor& x, double p) {
  return is_training() ? nn::dropout(x, p, dropout_stream()) : x;
}

at::Tensor Gpt2::hidden(const at::Tensor& ids_BT) {
  if (ids_BT.size(1) > info_.context) {
    throw_invalid(
        fmt::format("a sequence of {} tokens is longer than the model's context of {}", ids_BT.size(1), info_.context));
  }
  const double eps = config_.layer_norm_epsilon;
  at::Tensor x_BTC = drop(nn::token_and_position_embedding(wte_, wpe_, ids_BT), config_.embd_pdrop);
  for (const Block& block : blocks_) {
    const at::Tensor qkv_BT3C =
        project(nn::layer_norm(x_BTC, block.ln_1.weight, block.ln_1.bias, eps), block.attention_in);
    const at::Tensor attended_BTC =
        nn::causal_self_attention(qkv_BT3C, {.num_heads = config_.n_head,
                                             .scale = block.attention_scale,
                                             .dropout = is_training() ? config_.attn_pdrop : 0.0,
                                             .stream = &dropout_stream()});
    x_BTC = at::add(x_BTC, drop(project(attended_BTC, block.attention_out), config_.resid_pdrop));
    const at::Tensor normed_BTC = nn::layer_norm(x_BTC, block.ln_2.weight, block.ln_2.bias, eps);
    const at::Tensor inner_BTF = nn::activate(project(normed_BTC, block.mlp_in), activation_);
    x_BTC = at::add(x_BTC, drop(project(inner_BTF, block.mlp_out), config_.resid_pdrop));
  }
  return nn::layer_norm(x_BTC, ln_f_.weight, ln_f_.bias, eps);
}

at::Tensor Gpt2::logits(const at::Tensor& ids_BT) {
  return nn::linear(hidden(ids_BT), head_, {}, WeightLayout::out_in, precision());
}

at::Tensor Gpt2::loss(const at::Tensor& ids_BT, const at::Tensor& targets_BT) {
  return nn::tied_head_cross_entropy(hidden(ids_BT), head_, targets_BT, precision());
}

}  // namespace mobula::models
