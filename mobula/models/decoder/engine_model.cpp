// The decoder as the decode loop takes it.
#include <ATen/core/grad_mode.h>
#include <algorithm>
#include <functional>
#include <memory>

#include "mobula/base/error.hpp"
#include "mobula/models/decoder/decoder_lm.hpp"
#include "mobula/nn/layers/grouped_query_attention.hpp"

namespace mobula::models {
namespace {

nn::Residual residual_of(BlockKind block) {
  switch (block) {
    case BlockKind::pre_norm:
    case BlockKind::sandwich:
      return nn::Residual::input;
    case BlockKind::post_norm:
      return nn::Residual::sum_norm;
    case BlockKind::normed_residual:
      return nn::Residual::normed;
    case BlockKind::parallel:
    case BlockKind::parallel_shared_norm:
      return nn::Residual::shared;
  }
  throw_internal("decoder: unknown block");
}

nn::NormWeights norm_of(const Affine& norm) {
  return {norm.weight, norm.bias};
}

nn::LinearWeights linear_of(const Affine& projection) {
  return {projection.weight, projection.bias, projection.name, nullptr, projection.quantized};
}

nn::LinearWeights with_rows(const Affine& projection, std::function<at::Tensor(const at::Tensor&)> rows) {
  nn::LinearWeights chosen{{}, projection.bias.defined() ? rows(projection.bias) : at::Tensor(), projection.name, rows};
  if (projection.quantized && projection.quantized->has_rows()) {
    chosen.quantized = std::make_shared<const nn::QuantizedMatrix>(projection.quantized->select_rows(rows));
  } else {
    chosen.weight = rows(projection.matrix());
  }
  return chosen;
}

nn::LinearWeights rows_of(const Affine& projection, std::int64_t begin, std::int64_t count) {
  return with_rows(projection, [begin, count](const at::Tensor& rows) { return rows.narrow(0, begin, count); });
}

// Rows come as query, key and value of the first head, then of the second; they leave as all queries, keys, values.
nn::LinearWeights regrouped(const Affine& qkv, const DecoderConfig& config) {
  return with_rows(qkv, [heads = config.num_heads, width = config.head_dim](const at::Tensor& rows) {
    return rows.unflatten(0, at::IntArrayRef({heads, 3, width})).transpose(0, 1).contiguous().flatten(0, 2);
  });
}

nn::DecoderExperts experts_of(const DecoderLayerWeights& layer, const ExpertsConfig& config) {
  nn::DecoderExperts experts;
  experts.router = {layer.router, {}};
  experts.num_chosen = config.num_chosen;
  experts.normalize = config.normalize_weights;
  for (const ExpertWeights& expert : layer.experts) {
    experts.gate.push_back(linear_of(expert.gate));
    experts.up.push_back(linear_of(expert.up));
    experts.down.push_back(linear_of(expert.down));
  }
  experts.shared_gate = {layer.shared_gate, {}};
  return experts;
}

std::vector<float> to_vector(const at::Tensor& values) {
  const at::Tensor flat = values.to(at::kFloat).contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

}  // namespace

nn::DecoderModel DecoderLm::decoder_model() const {
  const at::NoGradGuard no_grad;
  const DecoderConfig& c = config_;
  nn::DecoderModel model;
  model.spec = {.vocab_size = c.vocab_size,
                .hidden = c.hidden,
                .num_heads = c.num_heads,
                .num_kv_heads = c.num_kv_heads,
                .head_dim = c.head_dim,
                .inner = c.inner,
                .context = c.context,
                .norm = c.norm,
                .norm_eps = c.norm_eps,
                .norm_offset = c.norm_offset,
                .activation = c.activation,
                .residual = residual_of(c.block),
                .has_final_norm = c.has_final_norm,
                .embedding_scale = embedding_scale(),
                .attention_softcap = c.attention_softcap,
                .logit_softcap = c.logits_softcap};
  model.token_embedding = weights_.embedding;
  if (weights_.positions.defined()) {
    model.position_embedding = weights_.positions.narrow(0, c.position_offset, c.context);
  }
  if (!c.names.embedding_norm.empty()) model.embedding_norm = norm_of(weights_.embedding_norm);
  std::vector<nn::RotarySpec> rotary;
  const auto changes = [&](const nn::RotaryEmbedding& one) { return one.shortest_alike(c.context) != 1; };
  if (std::ranges::any_of(rotary_, changes)) {
    // The largest answer is right for all: each one's angles stay the same from there to `length`.
    model.rotary_length = [all = rotary_](std::int64_t length) {
      std::int64_t shortest = 1;
      for (const nn::RotaryEmbedding& one : all) shortest = std::max(shortest, one.shortest_alike(length));
      return shortest;
    };
  }
  for (const nn::RotaryEmbedding& one : rotary_) {
    rotary.push_back({.dim = one.options().dim,
                      .interleaved = one.options().interleaved,
                      .frequencies = to_vector(one.frequencies(1)),
                      .amplitude = static_cast<float>(one.options().magnitude)});
    if (changes(one)) {
      rotary.back().frequencies_at = std::make_shared<const std::function<std::vector<float>(std::int64_t)>>(
          [one](std::int64_t length) { return to_vector(one.frequencies(length)); });
    }
  }
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    const DecoderLayerWeights& from = weights_.layers[i];
    nn::DecoderLayer layer;
    layer.attention_norm = norm_of(from.norm_1);
    switch (c.qkv) {
      case QkvLayout::separate:
        layer.qkv = {linear_of(from.query), linear_of(from.key), linear_of(from.value)};
        break;
      case QkvLayout::side_by_side:
        layer.qkv = {linear_of(from.qkv)};
        break;
      case QkvLayout::per_head:
        layer.qkv = {regrouped(from.qkv, c)};
        break;
    }
    layer.query_norm = norm_of(from.query_norm);
    layer.key_norm = norm_of(from.key_norm);
    layer.attention_out = linear_of(from.attention_out);
    layer.attention_out_norm = norm_of(from.after_attention_norm);
    layer.mlp_norm = norm_of(from.norm_2);
    if (c.mlp == MlpKind::gated_fused) {
      layer.gate = rows_of(from.up, 0, c.inner);
      layer.up = rows_of(from.up, c.inner, c.inner);
    } else {
      layer.gate = linear_of(from.gate);
      layer.up = linear_of(from.up);
    }
    layer.down = linear_of(from.down);
    if (c.layers[i].has_experts) layer.experts = experts_of(from, c.experts);
    layer.mlp_out_norm = norm_of(from.after_mlp_norm);
    layer.attention_scale = c.attention_scale;
    layer.window = c.layers[i].window;
    if (c.positions == PositionKind::rotary) layer.rotary = rotary[c.layers[i].rotary];
    if (c.positions == PositionKind::alibi) layer.alibi_slopes = to_vector(nn::alibi_slopes(c.num_heads));
    model.layers.push_back(std::move(layer));
  }
  model.final_norm = norm_of(weights_.final_norm);
  if (weights_.project_in.defined()) {
    model.project_in = {weights_.project_in, {}, c.names.project_in};
    model.project_out = {weights_.project_out, {}, c.names.project_out};
  }
  model.head = linear_of(weights_.head);
  return model;
}

}  // namespace mobula::models
