/// A decoder's parameters, asked for by the names that checkpoints give them: as libtorch's tensors, or as arrays for the decode
/// loop.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mobula/models/decoder/config.hpp"
#include "mobula/nn/array.hpp"
#include "mobula/nn/initial.hpp"
#include "mobula/nn/quantized_matrix.hpp"

namespace mobula::models {

/// A weight with its bias: of a projection (outputs first unless DecoderConfig::inputs_first) or of a norm. The bias is undefined
/// where there is none.
template <class Tensor>
struct Affine {
  Tensor weight, bias;
  std::string name = {};  ///< of a projection: its module's in checkpoints
  /// Stands in for `weight`, which is then undefined: a checkpoint's matrix of few bits, which isn't trained.
  std::shared_ptr<const nn::QuantizedMatrix> quantized = nullptr;
};

template <class Tensor>
struct ExpertWeights {
  Affine<Tensor> gate, up, down;
};

template <class Tensor>
struct DecoderLayerWeights {
  Affine<Tensor> norm_1, norm_2, after_attention_norm, after_mlp_norm;
  Affine<Tensor> qkv;  // where one matrix holds all three
  Affine<Tensor> query, key, value, attention_out;
  Affine<Tensor> query_norm, key_norm;
  Affine<Tensor> gate, up, down;  // of the MLP, or of the expert that all tokens share
  Tensor router, shared_gate;
  std::vector<ExpertWeights<Tensor>> experts;
};

template <class Tensor>
struct DecoderWeights {
  Tensor embedding, positions, project_in, project_out;
  Affine<Tensor> embedding_norm, final_norm, head;
  std::vector<DecoderLayerWeights<Tensor>> layers;
};

namespace detail {

template <class Tensor, class Source, class Add>
class DecoderWeightsBuilder {
 public:
  DecoderWeightsBuilder(const DecoderConfig& config, Source& source, const Add& add)
      : config_(config), source_(source), add_(add) {}

  Tensor matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
    return tensor(name + ".weight", {rows, columns}, nn::Initial::normal(config_.initializer_range));
  }
  Affine<Tensor> projection(const std::string& name, std::int64_t in, std::int64_t out, bool bias) {
    Affine<Tensor> affine =
        config_.inputs_first ? Affine<Tensor>{matrix(name, in, out), {}, name} : outputs_first(name, in, out);
    if (bias) affine.bias = tensor(name + ".bias", {out}, nn::Initial::zeros());
    return affine;
  }
  Affine<Tensor> outputs_first(const std::string& name, std::int64_t in, std::int64_t out) {
    Affine<Tensor> affine{{}, {}, name, source_.quantized(name + ".weight", {out, in})};
    if (!affine.quantized) affine.weight = matrix(name, out, in);
    return affine;
  }
  Affine<Tensor> norm(const std::string& name, std::int64_t width) {
    if (!config_.norm_has_parameters) return {};
    const bool from_zero = config_.norm_offset == 1.0;
    Affine<Tensor> affine{tensor(name + ".weight", {width}, from_zero ? nn::Initial::zeros() : nn::Initial::ones()),
                          {}};
    if (config_.norm == nn::NormKind::layer) affine.bias = tensor(name + ".bias", {width}, nn::Initial::zeros());
    return affine;
  }
  Tensor tensor(const std::string& name, const nn::Shape& shape, nn::Initial initial) {
    return add_(name, source_.get(name, shape, initial));
  }

  void attention(DecoderLayerWeights<Tensor>& layer, const std::string& at) {
    const DecoderConfig& c = config_;
    const DecoderNames& n = c.names;
    const std::int64_t query = c.num_heads * c.head_dim, shared = c.num_kv_heads * c.head_dim;
    if (c.qkv == QkvLayout::separate) {
      layer.query = projection(at + n.query, c.hidden, query, c.qkv_bias);
      layer.key = projection(at + n.key, c.hidden, shared, c.qkv_bias);
      layer.value = projection(at + n.value, c.hidden, shared, c.qkv_bias);
    } else {
      layer.qkv = projection(at + n.qkv, c.hidden, query + 2 * shared, c.qkv_bias);
    }
    if (c.normalize_heads) {
      layer.query_norm = norm(at + n.query_norm, c.head_dim);
      layer.key_norm = norm(at + n.key_norm, c.head_dim);
    }
    layer.attention_out = projection(at + n.attention_out, query, c.hidden, c.attention_out_bias);
  }

  void mlp(DecoderLayerWeights<Tensor>& layer, const std::string& at) {
    const DecoderConfig& c = config_;
    const DecoderNames& n = c.names;
    switch (c.mlp) {
      case MlpKind::plain:
        layer.up = projection(at + n.up, c.hidden, c.inner, c.mlp_bias);
        break;
      case MlpKind::gated:
        layer.gate = projection(at + n.gate, c.hidden, c.inner, c.mlp_bias);
        layer.up = projection(at + n.up, c.hidden, c.inner, c.mlp_bias);
        break;
      case MlpKind::gated_fused:
        layer.up = projection(at + n.up, c.hidden, 2 * c.inner, c.mlp_bias);
        break;
    }
    layer.down = projection(at + n.down, c.inner, c.hidden, c.mlp_bias);
  }

  void experts(DecoderLayerWeights<Tensor>& layer, const std::string& at) {
    const DecoderConfig& c = config_;
    const DecoderNames& n = c.names;
    layer.router = matrix(at + n.router, c.experts.num_experts, c.hidden);
    for (std::int64_t i = 0; i < c.experts.num_experts; ++i) {
      const std::string expert = fmt::format("{}{}{}.", at, n.experts, i);
      layer.experts.push_back({projection(expert + n.expert_gate, c.hidden, c.experts.inner, false),
                               projection(expert + n.expert_up, c.hidden, c.experts.inner, false),
                               projection(expert + n.expert_down, c.experts.inner, c.hidden, false)});
    }
    if (c.experts.shared_inner > 0) {
      layer.gate = projection(at + "mlp.shared_expert.gate_proj", c.hidden, c.experts.shared_inner, false);
      layer.up = projection(at + "mlp.shared_expert.up_proj", c.hidden, c.experts.shared_inner, false);
      layer.down = projection(at + "mlp.shared_expert.down_proj", c.experts.shared_inner, c.hidden, false);
      layer.shared_gate = matrix(at + "mlp.shared_expert_gate", 1, c.hidden);
    }
  }

 private:
  const DecoderConfig& config_;
  Source& source_;
  const Add& add_;
};

}  // namespace detail

/// Builds all parameters in the order of the forward pass. `source` has get(), has() and quantized() as nn::ParameterSource has;
/// add(name, value) is called for each and returns what to keep.
template <class Tensor, class Source, class Add>
DecoderWeights<Tensor> make_decoder_weights(const DecoderConfig& config, Source& source, const Add& add) {
  const DecoderConfig& c = config;
  const DecoderNames& n = c.names;
  detail::DecoderWeightsBuilder<Tensor, Source, Add> build(c, source, add);
  DecoderWeights<Tensor> weights;
  weights.embedding = build.matrix(n.embedding, c.vocab_size, c.embedding_width);
  if (c.positions == PositionKind::learned) {
    weights.positions = build.matrix(n.positions, c.context + c.position_offset, c.hidden);
  }
  if (c.embedding_width != c.hidden) {
    weights.project_in = build.matrix(n.project_in, c.hidden, c.embedding_width);
    weights.project_out = build.matrix(n.project_out, c.embedding_width, c.hidden);
  }
  if (!n.embedding_norm.empty()) weights.embedding_norm = build.norm(n.embedding_norm, c.hidden);
  for (std::size_t i = 0; i < c.layers.size(); ++i) {
    const std::string at = fmt::format("{}{}.", n.layers, i);
    DecoderLayerWeights<Tensor> layer;
    layer.norm_1 = build.norm(at + n.norm_1, c.hidden);
    build.attention(layer, at);
    if (c.block == BlockKind::sandwich) layer.after_attention_norm = build.norm(at + n.after_attention_norm, c.hidden);
    if (c.block != BlockKind::parallel_shared_norm) layer.norm_2 = build.norm(at + n.norm_2, c.hidden);
    if (c.layers[i].has_experts) {
      build.experts(layer, at);
    } else {
      build.mlp(layer, at);
    }
    if (c.block == BlockKind::sandwich) layer.after_mlp_norm = build.norm(at + n.after_mlp_norm, c.hidden);
    weights.layers.push_back(std::move(layer));
  }
  if (c.has_final_norm) weights.final_norm = build.norm(n.final_norm, c.hidden);
  weights.head = c.tied_head ? Affine<Tensor>{weights.embedding, {}, n.head}
                             : build.outputs_first(n.head, c.embedding_width, c.vocab_size);
  if (c.head_bias) weights.head.bias = build.tensor(n.head + ".bias", {c.vocab_size}, nn::Initial::zeros());
  return weights;
}

}  // namespace mobula::models
