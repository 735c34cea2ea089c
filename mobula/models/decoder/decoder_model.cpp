#include "mobula/models/decoder/decoder_model.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/nn/layers/alibi.hpp"

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

nn::NormWeights norm_of(const Affine<nn::Array>& norm) {
  return {norm.weight, norm.bias};
}

nn::LinearWeights linear_of(const Affine<nn::Array>& projection, bool inputs_first = false) {
  return {inputs_first && projection.weight.defined() ? projection.weight.transposed() : projection.weight,
          projection.bias, projection.name, nullptr, projection.quantized};
}

nn::LinearWeights with_rows(const Affine<nn::Array>& projection, std::function<nn::Array(const nn::Array&)> rows) {
  nn::LinearWeights chosen{{}, projection.bias.defined() ? rows(projection.bias) : nn::Array(), projection.name, rows};
  if (projection.quantized && projection.quantized->has_rows()) {
    chosen.quantized = std::make_shared<const nn::QuantizedMatrix>(projection.quantized->select_rows(rows));
  } else {
    chosen.weight = rows(projection.quantized ? projection.quantized->dequantize() : projection.weight);
  }
  return chosen;
}

nn::LinearWeights rows_of(const Affine<nn::Array>& projection, std::int64_t begin, std::int64_t count) {
  return with_rows(projection, [begin, count](const nn::Array& rows) { return rows.narrow(begin, count); });
}

// Rows come as query, key and value of the first head, then of the second; they leave as all queries, keys, values.
nn::LinearWeights regrouped(const Affine<nn::Array>& qkv, const DecoderConfig& config) {
  std::vector<std::int64_t> order;
  for (std::int64_t part = 0; part < 3; ++part) {
    for (std::int64_t head = 0; head < config.num_heads; ++head) {
      for (std::int64_t i = 0; i < config.head_dim; ++i) order.push_back((head * 3 + part) * config.head_dim + i);
    }
  }
  return with_rows(qkv, [order](const nn::Array& rows) { return rows.select_rows(order); });
}

nn::DecoderExperts experts_of(const DecoderLayerWeights<nn::Array>& layer, const ExpertsConfig& config) {
  nn::DecoderExperts experts;
  experts.router = {layer.router, {}};
  experts.num_chosen = config.num_chosen;
  experts.normalize = config.normalize_weights;
  for (const ExpertWeights<nn::Array>& expert : layer.experts) {
    experts.gate.push_back(linear_of(expert.gate));
    experts.up.push_back(linear_of(expert.up));
    experts.down.push_back(linear_of(expert.down));
  }
  experts.shared_gate = {layer.shared_gate, {}};
  return experts;
}

}  // namespace

double embedding_scale(const DecoderConfig& config, at::ScalarType type) {
  const auto scale = static_cast<float>(config.embedding_scale);
  // Gemma's scale has the table's type: with bfloat16 it is rounded.
  return static_cast<double>(type == at::kBFloat16 ? static_cast<float>(at::BFloat16(scale)) : scale);
}

nn::DecoderModel make_decoder_model(const DecoderConfig& c, const DecoderWeights<nn::Array>& weights) {
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
                .embedding_scale = embedding_scale(c, weights.embedding.scalar_type()),
                .attention_softcap = c.attention_softcap,
                .logit_softcap = c.logits_softcap};
  model.token_embedding = weights.embedding;
  if (weights.positions.defined()) {
    model.position_embedding = weights.positions.narrow(c.position_offset, c.context);
  }
  if (!c.names.embedding_norm.empty()) model.embedding_norm = norm_of(weights.embedding_norm);
  std::vector<nn::RotarySpec> rotary;
  const auto changes = [&](const nn::RotaryOptions& one) { return nn::shortest_alike(one, c.context) != 1; };
  if (std::ranges::any_of(c.rotary, changes)) {
    // The largest answer is right for all: each one's angles stay the same from there to `length`.
    model.rotary_length = [all = c.rotary](std::int64_t length) {
      std::int64_t shortest = 1;
      for (const nn::RotaryOptions& one : all) shortest = std::max(shortest, nn::shortest_alike(one, length));
      return shortest;
    };
  }
  for (const nn::RotaryOptions& one : c.rotary) {
    nn::check_rotary(one);
    rotary.push_back({.dim = one.dim,
                      .interleaved = one.interleaved,
                      .frequencies = nn::rotary_frequencies(one, 1),
                      .amplitude = static_cast<float>(one.magnitude)});
    if (changes(one)) {
      rotary.back().frequencies_at = std::make_shared<const std::function<std::vector<float>(std::int64_t)>>(
          [one](std::int64_t length) { return nn::rotary_frequencies(one, length); });
    }
  }
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    const DecoderLayerWeights<nn::Array>& from = weights.layers[i];
    nn::DecoderLayer layer;
    layer.attention_norm = norm_of(from.norm_1);
    switch (c.qkv) {
      case QkvLayout::separate:
        layer.qkv = {linear_of(from.query), linear_of(from.key), linear_of(from.value)};
        break;
      case QkvLayout::side_by_side:
        layer.qkv = {linear_of(from.qkv, c.inputs_first)};
        break;
      case QkvLayout::per_head:
        layer.qkv = {regrouped(from.qkv, c)};
        break;
    }
    layer.query_norm = norm_of(from.query_norm);
    layer.key_norm = norm_of(from.key_norm);
    layer.attention_out = linear_of(from.attention_out, c.inputs_first);
    layer.attention_out_norm = norm_of(from.after_attention_norm);
    layer.mlp_norm = norm_of(from.norm_2);
    if (c.mlp == MlpKind::gated_fused) {
      layer.gate = rows_of(from.up, 0, c.inner);
      layer.up = rows_of(from.up, c.inner, c.inner);
    } else {
      layer.gate = linear_of(from.gate, c.inputs_first);
      layer.up = linear_of(from.up, c.inputs_first);
    }
    layer.down = linear_of(from.down, c.inputs_first);
    if (c.layers[i].has_experts) layer.experts = experts_of(from, c.experts);
    layer.mlp_out_norm = norm_of(from.after_mlp_norm);
    layer.attention_scale = c.attention_scale * c.layers[i].attention_factor;
    layer.window = c.layers[i].window;
    if (c.positions == PositionKind::rotary) layer.rotary = rotary[c.layers[i].rotary];
    if (c.positions == PositionKind::alibi) layer.alibi_slopes = nn::alibi_slopes(c.num_heads);
    model.layers.push_back(std::move(layer));
  }
  model.final_norm = norm_of(weights.final_norm);
  if (weights.project_in.defined()) {
    model.project_in = {weights.project_in, {}, c.names.project_in};
    model.project_out = {weights.project_out, {}, c.names.project_out};
  }
  model.head = linear_of(weights.head);
  return model;
}

}  // namespace mobula::models
