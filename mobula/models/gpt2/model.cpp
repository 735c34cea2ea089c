#include "mobula/models/gpt2/model.hpp"

#include <ATen/ops/add.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/models/decoder/decoder_model.hpp"
#include "mobula/nn/kernels/norm_head_cross_entropy.hpp"
#include "mobula/nn/kernels/prenorm_block.hpp"
#include "mobula/nn/kernels/token_position_embedding.hpp"
#include "mobula/nn/layers/attention.hpp"
#include "mobula/nn/layers/cross_entropy.hpp"
#include "mobula/nn/layers/embedding.hpp"
#include "mobula/nn/layers/layer_norm.hpp"
#include "mobula/nn/layers/linear.hpp"
#include "mobula/nn/parameter_arrays.hpp"

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
          add_parameter(bias, source.get(bias, {out}, Initial::zeros())), name};
}

at::Tensor Gpt2::project(const at::Tensor& x, const Projection& projection) const {
  return nn::linear(x, projection.weight, projection.bias, WeightLayout::in_out, precision());
}

at::Tensor Gpt2::drop(const at::Tensor& x, double p) {
  return is_training() ? nn::dropout(x, p, dropout_stream()) : x;
}

bool Gpt2::drops() const {
  return is_training() && (config_.embd_pdrop > 0 || config_.attn_pdrop > 0 || config_.resid_pdrop > 0);
}

at::Tensor Gpt2::embed(const at::Tensor& ids_BT) {
  if (ids_BT.size(1) > info_.context) {
    throw_invalid(
        fmt::format("a sequence of {} tokens is longer than the model's context of {}", ids_BT.size(1), info_.context));
  }
  if (!drops() && nn::kernels::can_run_token_position_embedding(wte_, wpe_, ids_BT)) {
    return nn::kernels::token_position_embedding(wte_, wpe_, ids_BT);
  }
  return drop(nn::token_and_position_embedding(wte_, wpe_, ids_BT), config_.embd_pdrop);
}

at::Tensor Gpt2::run_block(const at::Tensor& x_BTC, const Block& block) {
  const double eps = config_.layer_norm_epsilon;
  if (!drops() && activation_ == nn::Activation::gelu_tanh) {
    const nn::kernels::PrenormBlockParameters whole = {
        block.ln_1.weight,          block.ln_1.bias,          block.attention_in.weight, block.attention_in.bias,
        block.attention_out.weight, block.attention_out.bias, block.ln_2.weight,         block.ln_2.bias,
        block.mlp_in.weight,        block.mlp_in.bias,        block.mlp_out.weight,      block.mlp_out.bias};
    const nn::kernels::PrenormBlockOptions options = {.num_heads = config_.n_head,
                                                      .attention_scale = block.attention_scale,
                                                      .epsilon = eps,
                                                      .precision = precision()};
    if (nn::kernels::can_run_prenorm_block(x_BTC, whole, options)) {
      return nn::kernels::prenorm_block(x_BTC, whole, options);
    }
  }
  const at::Tensor qkv_BT3C =
      project(nn::layer_norm(x_BTC, block.ln_1.weight, block.ln_1.bias, eps), block.attention_in);
  const at::Tensor attended_BTC =
      nn::causal_self_attention(qkv_BT3C, {.num_heads = config_.n_head,
                                           .scale = block.attention_scale,
                                           .dropout = is_training() ? config_.attn_pdrop : 0.0,
                                           .stream = &dropout_stream()});
  const at::Tensor middle_BTC = at::add(x_BTC, drop(project(attended_BTC, block.attention_out), config_.resid_pdrop));
  const at::Tensor normed_BTC = nn::layer_norm(middle_BTC, block.ln_2.weight, block.ln_2.bias, eps);
  const at::Tensor inner_BTF = nn::activate(project(normed_BTC, block.mlp_in), activation_);
  return at::add(middle_BTC, drop(project(inner_BTF, block.mlp_out), config_.resid_pdrop));
}

at::Tensor Gpt2::residual_stream(const at::Tensor& ids_BT) {
  at::Tensor x_BTC = embed(ids_BT);
  for (const Block& block : blocks_) x_BTC = run_block(x_BTC, block);
  return x_BTC;
}

at::Tensor Gpt2::hidden(const at::Tensor& ids_BT) {
  return nn::layer_norm(residual_stream(ids_BT), ln_f_.weight, ln_f_.bias, config_.layer_norm_epsilon);
}

at::Tensor Gpt2::logits(const at::Tensor& ids_BT) {
  return nn::linear(hidden(ids_BT), head_, {}, WeightLayout::out_in, precision());
}

at::Tensor Gpt2::loss(const at::Tensor& ids_BT, const at::Tensor& targets_BT) {
  const at::Tensor x_BTC = residual_stream(ids_BT);
  const double eps = config_.layer_norm_epsilon;
  if (nn::kernels::can_run_norm_head_cross_entropy(x_BTC, ln_f_.weight, ln_f_.bias, head_, precision())) {
    return nn::kernels::norm_head_cross_entropy(x_BTC, ln_f_.weight, ln_f_.bias, eps, head_, targets_BT, precision());
  }
  return nn::tied_head_cross_entropy(nn::layer_norm(x_BTC, ln_f_.weight, ln_f_.bias, eps), head_, targets_BT,
                                     precision());
}

nn::DecoderModel Gpt2::decoder_model() const {
  const DecoderConfig config = config_.describe();
  const nn::ParameterArrays arrays(*this);
  return read_decoder_model(config, arrays);
}

}  // namespace mobula::models
