#include "mobula/models/decoder/weights.hpp"

#include <fmt/format.h>

namespace mobula::models {
namespace {

using nn::Initial;

class Builder {
 public:
  Builder(const DecoderConfig& config, nn::ParameterSource& source, const AddParameter& add)
      : config_(config), source_(source), add_(add) {}

  at::Tensor matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
    return tensor(name + ".weight", {rows, columns}, Initial::normal(config_.initializer_range));
  }
  Affine projection(const std::string& name, std::int64_t in, std::int64_t out, bool bias) {
    Affine affine{{}, {}, name, source_.quantized(name + ".weight", {out, in})};
    if (!affine.quantized) affine.weight = matrix(name, out, in);
    if (bias) affine.bias = tensor(name + ".bias", {out}, Initial::zeros());
    return affine;
  }
  Affine norm(const std::string& name, std::int64_t width) {
    if (!config_.norm_has_parameters) return {};
    const bool from_zero = config_.norm_offset == 1.0;
    Affine affine{tensor(name + ".weight", {width}, from_zero ? Initial::zeros() : Initial::ones()), {}};
    if (config_.norm == nn::NormKind::layer) affine.bias = tensor(name + ".bias", {width}, Initial::zeros());
    return affine;
  }
  at::Tensor tensor(const std::string& name, at::IntArrayRef shape, Initial initial) {
    return add_(name, source_.get(name, shape, initial));
  }

  void attention(DecoderLayerWeights& layer, const std::string& at) {
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

  void mlp(DecoderLayerWeights& layer, const std::string& at) {
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

  void experts(DecoderLayerWeights& layer, const std::string& at) {
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
  nn::ParameterSource& source_;
  const AddParameter& add_;
};

}  // namespace

DecoderWeights make_decoder_weights(const DecoderConfig& config, nn::ParameterSource& source, const AddParameter& add) {
  const DecoderConfig& c = config;
  const DecoderNames& n = c.names;
  Builder build(c, source, add);
  DecoderWeights weights;
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
    DecoderLayerWeights layer;
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
  weights.head = c.tied_head ? Affine{weights.embedding, {}, n.head}
                             : build.projection(n.head, c.embedding_width, c.vocab_size, false);
  if (c.head_bias) weights.head.bias = build.tensor(n.head + ".bias", {c.vocab_size}, nn::Initial::zeros());
  return weights;
}

}  // namespace mobula::models
