#include "mobula/models/decoder/decoder_lm.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/div.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <map>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/models/decoder/decoder_model.hpp"
#include "mobula/nn/layers/activation.hpp"
#include "mobula/nn/layers/alibi.hpp"
#include "mobula/nn/layers/cross_entropy.hpp"
#include "mobula/nn/layers/dropout.hpp"
#include "mobula/nn/layers/embedding.hpp"
#include "mobula/nn/layers/grouped_query_attention.hpp"
#include "mobula/nn/layers/layer_norm.hpp"
#include "mobula/nn/layers/linear.hpp"
#include "mobula/nn/layers/mixture_of_experts.hpp"
#include "mobula/nn/layers/rms_norm.hpp"
#include "mobula/nn/parameter_arrays.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::models {

using nn::WeightLayout;

namespace {

// Returns the weight, computed anew at each call where it is quantized.
at::Tensor matrix_of(const Affine<at::Tensor>& projection) {
  return projection.quantized ? nn::to_tensor(projection.quantized->dequantize()) : projection.weight;
}

}  // namespace

DecoderLm::DecoderLm(DecoderConfig config, nn::ParameterSource& source) : config_(std::move(config)) {
  const DecoderConfig& c = config_;
  info_ = {.family = c.family,
           .vocab_size = c.vocab_size,
           .context = c.context,
           .num_layers = static_cast<std::int64_t>(c.layers.size()),
           .num_heads = c.num_heads,
           .num_kv_heads = c.num_kv_heads,
           .head_dim = c.head_dim,
           .hidden = c.hidden,
           .eos_ids = c.eos_ids};
  for (const nn::RotaryOptions& options : c.rotary) rotary_.emplace_back(options);
  weights_ = make_decoder_weights<at::Tensor>(c, source, [this](std::string name, at::Tensor value) {
    return add_parameter(std::move(name), std::move(value));
  });
}

DecoderLm::Pass DecoderLm::begin(const at::Tensor& ids_BT, const at::Tensor& mask_BT) const {
  const std::int64_t length = ids_BT.size(1);
  if (length > info_.context) {
    throw_invalid(
        fmt::format("a sequence of {} tokens is longer than the model's context of {}", length, info_.context));
  }
  Pass pass;
  // Padding counts as position 0: it is seen by nobody.
  pass.positions = mask_BT.defined() ? at::clamp(mask_BT.to(at::kLong).cumsum(1).sub(1), 0)
                                     : at::arange(length, at::TensorOptions().dtype(at::kLong));
  // Angles that depend on the length go by the longest text, which padding is no part of.
  const std::int64_t longest = mask_BT.defined() && length > 0 ? pass.positions.max().item<std::int64_t>() + 1 : length;
  for (const nn::RotaryEmbedding& rotary : rotary_) pass.rotary.push_back(rotary.table(pass.positions, longest));
  std::map<std::int64_t, at::Tensor> by_window;
  for (const DecoderLayerConfig& layer : config_.layers) {
    // A window that reaches over the whole sequence hides nothing.
    const std::int64_t window = layer.window < length ? layer.window : 0;
    if (window == 0 && !mask_BT.defined()) {
      pass.visible.emplace_back();
      continue;
    }
    at::Tensor& visible = by_window[window];
    if (!visible.defined()) visible = nn::causal_visibility(length, length, window, mask_BT);
    pass.visible.push_back(visible);
  }
  if (config_.positions == PositionKind::alibi) {
    const at::Tensor keys = pass.positions.to(at::kFloat).unsqueeze(-2);  // [1, S] or [B, 1, S]
    pass.bias = at::mul(at::tensor(nn::alibi_slopes(config_.num_heads)).unsqueeze(-1), keys).unsqueeze(-2);
  }
  return pass;
}

at::Tensor DecoderLm::normalize(const at::Tensor& x, const Projection& norm) const {
  if (config_.norm == nn::NormKind::layer) return nn::layer_norm(x, norm.weight, norm.bias, config_.norm_eps);
  return nn::rms_norm(x, norm.weight, config_.norm_eps, config_.norm_offset);
}

at::Tensor DecoderLm::project(const at::Tensor& x, const Projection& projection) const {
  return nn::linear(x, matrix_of(projection), projection.bias, WeightLayout::out_in, precision());
}

at::Tensor DecoderLm::drop(const at::Tensor& x, double p) {
  return is_training() ? nn::dropout(x, p, dropout_stream()) : x;
}

at::Tensor DecoderLm::embed(const at::Tensor& ids_BT, const Pass& pass) {
  at::Tensor x_BTC = nn::embedding(weights_.embedding, ids_BT).to(at::kFloat);
  if (const double scale = embedding_scale(config_, weights_.embedding.scalar_type()); scale != 1.0)
    x_BTC = at::mul(x_BTC, scale);
  if (weights_.project_in.defined()) {
    x_BTC = nn::linear(x_BTC, weights_.project_in, {}, WeightLayout::out_in, precision());
  }
  if (config_.positions == PositionKind::learned) {
    const at::Tensor rows = pass.positions.add(config_.position_offset);
    x_BTC = at::add(x_BTC.to(at::kFloat), nn::embedding(weights_.positions, rows).to(at::kFloat));
  }
  if (!config_.names.embedding_norm.empty()) x_BTC = normalize(x_BTC, weights_.embedding_norm);
  return drop(x_BTC, config_.embedding_dropout);
}

at::Tensor DecoderLm::attention(const at::Tensor& x_BTC, std::size_t index, const Pass& pass) {
  const DecoderConfig& c = config_;
  const LayerWeights& layer = weights_.layers[index];
  at::Tensor q_BTHD, k_BTGD, v_BTGD;
  const auto heads = [&](const at::Tensor& x, std::int64_t count) {
    return x.unflatten(-1, at::IntArrayRef({count, c.head_dim}));
  };
  if (c.qkv == QkvLayout::separate) {
    q_BTHD = heads(project(x_BTC, layer.query), c.num_heads);
    k_BTGD = heads(project(x_BTC, layer.key), c.num_kv_heads);
    v_BTGD = heads(project(x_BTC, layer.value), c.num_kv_heads);
  } else if (c.qkv == QkvLayout::side_by_side) {
    const at::Tensor all = heads(project(x_BTC, layer.qkv), c.num_heads + 2 * c.num_kv_heads);
    q_BTHD = all.narrow(2, 0, c.num_heads);
    k_BTGD = all.narrow(2, c.num_heads, c.num_kv_heads);
    v_BTGD = all.narrow(2, c.num_heads + c.num_kv_heads, c.num_kv_heads);
  } else {
    const at::Tensor all_BTH3D = project(x_BTC, layer.qkv).unflatten(-1, at::IntArrayRef({c.num_heads, 3, c.head_dim}));
    q_BTHD = all_BTH3D.select(3, 0);
    k_BTGD = all_BTH3D.select(3, 1);
    v_BTGD = all_BTH3D.select(3, 2);
  }
  if (c.normalize_heads) {
    const at::ScalarType type = q_BTHD.scalar_type();
    q_BTHD = normalize(q_BTHD, layer.query_norm).to(type);
    k_BTGD = normalize(k_BTGD, layer.key_norm).to(type);
  }
  if (c.positions == PositionKind::rotary) {
    const std::size_t which = c.layers[index].rotary;
    q_BTHD = rotary_[which].turn(q_BTHD, pass.rotary[which]);
    k_BTGD = rotary_[which].turn(k_BTGD, pass.rotary[which]);
  }
  const at::Tensor attended_BTC =
      nn::grouped_query_attention(q_BTHD.transpose(1, 2), k_BTGD.transpose(1, 2), v_BTGD.transpose(1, 2),
                                  {.scale = c.attention_scale * c.layers[index].attention_factor,
                                   .softcap = c.attention_softcap,
                                   .dropout = is_training() ? c.attention_dropout : 0.0,
                                   .stream = &dropout_stream(),
                                   .visible = pass.visible[index],
                                   .bias = pass.bias});
  return project(attended_BTC, layer.attention_out);
}

at::Tensor DecoderLm::mlp(const at::Tensor& x_BTC, const LayerWeights& layer) {
  const auto gated = [&](const at::Tensor& x, const Projection& gate, const Projection& up, const Projection& down) {
    return project(at::mul(nn::activate(project(x, gate), config_.activation), project(x, up)), down);
  };
  if (!layer.experts.empty()) {
    const at::Tensor x_NC = x_BTC.flatten(0, 1);
    const ExpertsConfig& experts = config_.experts;
    at::Tensor sum_NC = nn::mixture_of_experts(
        x_NC, nn::route_to_experts(x_NC, layer.router, experts.num_chosen, experts.normalize_weights),
        experts.num_experts, [&](std::int64_t i, const at::Tensor& x_MC) {
          const ExpertWeights<at::Tensor>& expert = layer.experts[static_cast<std::size_t>(i)];
          return gated(x_MC, expert.gate, expert.up, expert.down);
        });
    if (layer.shared_gate.defined()) {
      const at::Tensor share_N1 = at::sigmoid(project(x_NC, {layer.shared_gate, {}}));
      sum_NC = at::add(sum_NC, at::mul(share_N1, gated(x_NC, layer.gate, layer.up, layer.down)));
    }
    return sum_NC.view(x_BTC.sizes());
  }
  switch (config_.mlp) {
    case MlpKind::plain:
      return project(nn::activate(project(x_BTC, layer.up), config_.activation), layer.down);
    case MlpKind::gated:
      return gated(x_BTC, layer.gate, layer.up, layer.down);
    case MlpKind::gated_fused: {
      const at::Tensor both = project(x_BTC, layer.up);
      const at::Tensor gate = nn::activate(both.narrow(-1, 0, config_.inner), config_.activation);
      return project(at::mul(gate, both.narrow(-1, config_.inner, config_.inner)), layer.down);
    }
  }
  throw_internal("decoder: unknown MLP");
}

at::Tensor DecoderLm::hidden(const at::Tensor& ids_BT, const at::Tensor& mask_BT) {
  const Pass pass = begin(ids_BT, mask_BT);
  const double p = config_.residual_dropout;
  at::Tensor x_BTC = embed(ids_BT, pass);
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
    const LayerWeights& layer = weights_.layers[i];
    switch (config_.block) {
      case BlockKind::pre_norm:
        x_BTC = at::add(x_BTC, drop(attention(normalize(x_BTC, layer.norm_1), i, pass), p));
        x_BTC = at::add(x_BTC, drop(mlp(normalize(x_BTC, layer.norm_2), layer), p));
        break;
      case BlockKind::sandwich:
        x_BTC =
            at::add(x_BTC, normalize(attention(normalize(x_BTC, layer.norm_1), i, pass), layer.after_attention_norm));
        x_BTC = at::add(x_BTC, normalize(mlp(normalize(x_BTC, layer.norm_2), layer), layer.after_mlp_norm));
        break;
      case BlockKind::post_norm:
        x_BTC = normalize(at::add(x_BTC, drop(attention(x_BTC, i, pass), p)), layer.norm_1);
        x_BTC = normalize(at::add(x_BTC, drop(mlp(x_BTC, layer), p)), layer.norm_2);
        break;
      case BlockKind::normed_residual: {
        const at::Tensor first = normalize(x_BTC, layer.norm_1);
        const at::Tensor second = normalize(at::add(first, drop(attention(first, i, pass), p)), layer.norm_2);
        x_BTC = at::add(second, drop(mlp(second, layer), p));
        break;
      }
      case BlockKind::parallel:
      case BlockKind::parallel_shared_norm: {
        const at::Tensor normed = normalize(x_BTC, layer.norm_1);
        const at::Tensor other = config_.block == BlockKind::parallel ? normalize(x_BTC, layer.norm_2) : normed;
        const at::Tensor attended = drop(attention(normed, i, pass), p);
        x_BTC = at::add(at::add(drop(mlp(other, layer), p), attended), x_BTC);
        break;
      }
    }
  }
  if (config_.has_final_norm) x_BTC = normalize(x_BTC, weights_.final_norm);
  if (weights_.project_out.defined()) {
    x_BTC = nn::linear(x_BTC, weights_.project_out, {}, WeightLayout::out_in, precision());
  }
  return x_BTC;
}

at::Tensor DecoderLm::head(const at::Tensor& x_BTC) const {
  const at::Tensor scores = project(x_BTC, weights_.head);
  if (config_.logits_softcap == 0.0) return scores;
  return at::mul(at::tanh(at::div(scores, config_.logits_softcap)), config_.logits_softcap);
}

at::Tensor DecoderLm::logits(const at::Tensor& ids_BT) {
  return head(hidden(ids_BT, {}));
}

at::Tensor DecoderLm::logits(const at::Tensor& ids_BT, const at::Tensor& mask_BT) {
  return head(hidden(ids_BT, mask_BT));
}

at::Tensor DecoderLm::loss(const at::Tensor& ids_BT, const at::Tensor& targets_BT) {
  const at::Tensor x_BTC = hidden(ids_BT, {});
  if (config_.logits_softcap == 0.0 && !weights_.head.bias.defined()) {
    return nn::tied_head_cross_entropy(x_BTC, matrix_of(weights_.head), targets_BT, precision());
  }
  return nn::cross_entropy(head(x_BTC), targets_BT);
}

nn::DecoderModel DecoderLm::decoder_model() const {
  nn::ParameterArrays::Quantized quantized;
  const auto note = [&](const Projection& one) {
    if (one.quantized) quantized.emplace(one.name + ".weight", one.quantized);
  };
  note(weights_.head);
  for (const LayerWeights& layer : weights_.layers) {
    for (const Projection* one : {&layer.qkv, &layer.query, &layer.key, &layer.value, &layer.attention_out, &layer.gate,
                                  &layer.up, &layer.down}) {
      note(*one);
    }
    for (const ExpertWeights<at::Tensor>& expert : layer.experts) {
      for (const Projection* one : {&expert.gate, &expert.up, &expert.down}) note(*one);
    }
  }
  const nn::ParameterArrays arrays(*this, std::move(quantized));
  return read_decoder_model(config_, arrays);
}

}  // namespace mobula::models
