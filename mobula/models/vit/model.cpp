#include "mobula/models/vit/model.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/nn/layers/activation.hpp"
#include "mobula/nn/layers/cross_entropy.hpp"
#include "mobula/nn/layers/dropout.hpp"
#include "mobula/nn/layers/grouped_query_attention.hpp"
#include "mobula/nn/layers/layer_norm.hpp"
#include "mobula/nn/layers/linear.hpp"

namespace mobula::models {

using nn::Initial;

Vit::Vit(VitConfig config, nn::ParameterSource& source) : config_(std::move(config)) {
  const VitConfig& c = config_;
  const std::string trunk = c.classifies ? "vit." : "";
  const Initial normal = Initial::normal(c.initializer_range);
  class_token_ = add(source, trunk + "embeddings.cls_token", {1, 1, c.hidden}, normal);
  positions_ = add(source, trunk + "embeddings.position_embeddings", {1, c.num_patches() + 1, c.hidden}, normal);
  const std::string patches = trunk + "embeddings.patch_embeddings.projection";
  patch_weight_ = add(source, patches + ".weight", {c.hidden, c.num_channels, c.patch_height, c.patch_width}, normal);
  patch_bias_ = add(source, patches + ".bias", {c.hidden}, Initial::zeros());
  for (std::int64_t i = 0; i < c.num_layers; ++i) {
    const std::string at = fmt::format("{}encoder.layer.{}.", trunk, i);
    Layer layer;
    layer.query = add_projection(source, at + "attention.attention.query", c.hidden, c.hidden, c.qkv_bias);
    layer.key = add_projection(source, at + "attention.attention.key", c.hidden, c.hidden, c.qkv_bias);
    layer.value = add_projection(source, at + "attention.attention.value", c.hidden, c.hidden, c.qkv_bias);
    layer.attention_out = add_projection(source, at + "attention.output.dense", c.hidden, c.hidden);
    layer.up = add_projection(source, at + "intermediate.dense", c.hidden, c.inner);
    layer.down = add_projection(source, at + "output.dense", c.inner, c.hidden);
    layer.norm_1 = add_norm(source, at + "layernorm_before");
    layer.norm_2 = add_norm(source, at + "layernorm_after");
    layers_.push_back(std::move(layer));
  }
  final_norm_ = add_norm(source, trunk + "layernorm");
  if (c.classifies) {
    classifier_ = add_projection(source, "classifier", c.hidden, static_cast<std::int64_t>(c.labels.size()));
  } else if (source.has("pooler.dense.weight")) {
    // Kept for those who load what we write.
    pooler_ = add_projection(source, "pooler.dense", c.hidden, c.pooler_width);
  }
}

at::Tensor Vit::add(nn::ParameterSource& source, const std::string& name, at::IntArrayRef shape, Initial initial) {
  return add_parameter(name, source.get(name, shape, initial));
}

Vit::Affine Vit::add_projection(nn::ParameterSource& source, const std::string& name, std::int64_t in, std::int64_t out,
                                bool bias) {
  Affine affine{add(source, name + ".weight", {out, in}, Initial::normal(config_.initializer_range)), {}};
  if (bias) affine.bias = add(source, name + ".bias", {out}, Initial::zeros());
  return affine;
}

Vit::Affine Vit::add_norm(nn::ParameterSource& source, const std::string& name) {
  const at::Tensor weight = add(source, name + ".weight", {config_.hidden}, Initial::ones());
  return {weight, add(source, name + ".bias", {config_.hidden}, Initial::zeros())};
}

at::Tensor Vit::project(const at::Tensor& x, const Affine& projection) const {
  return nn::linear(x, projection.weight, projection.bias, nn::WeightLayout::out_in, precision_);
}

at::Tensor Vit::normalize(const at::Tensor& x, const Affine& norm) const {
  return nn::layer_norm(x, norm.weight, norm.bias, config_.norm_eps);
}

at::Tensor Vit::drop(const at::Tensor& x, double p) {
  return is_training() ? nn::dropout(x, p, dropout_stream()) : x;
}

at::Tensor Vit::hidden(const at::Tensor& pixels) {
  const VitConfig& c = config_;
  const std::int64_t batch = pixels.size(0);
  if (pixels.size(1) != c.num_channels || pixels.size(2) != c.image_height || pixels.size(3) != c.image_width) {
    throw_invalid(fmt::format("images of {} channels and {} x {} pixels, the model reads {} and {} x {}",
                              pixels.size(1), pixels.size(2), pixels.size(3), c.num_channels, c.image_height,
                              c.image_width));
  }
  // A convolution whose step is its size is a product of flattened patches: [B, rows, columns, channels, height, width].
  const std::int64_t rows = c.image_height / c.patch_height, columns = c.image_width / c.patch_width;
  const at::Tensor patches_BTP = pixels.narrow(2, 0, rows * c.patch_height)
                                     .narrow(3, 0, columns * c.patch_width)
                                     .reshape({batch, c.num_channels, rows, c.patch_height, columns, c.patch_width})
                                     .permute({0, 2, 4, 1, 3, 5})
                                     .reshape({batch, rows * columns, -1});
  const at::Tensor embedded_BTC = project(patches_BTP, {patch_weight_.flatten(1), patch_bias_}).to(at::kFloat);
  const at::Tensor first_B1C = class_token_.to(at::kFloat).expand({batch, 1, c.hidden});
  at::Tensor x_BTC = drop(at::add(at::cat({first_B1C, embedded_BTC}, 1), positions_.to(at::kFloat)), c.hidden_dropout);
  const std::int64_t head_dim = c.hidden / c.num_heads;
  for (const Layer& layer : layers_) {
    const at::Tensor normed_BTC = normalize(x_BTC, layer.norm_1);
    const auto heads = [&](const Affine& projection) {
      return project(normed_BTC, projection).unflatten(-1, at::IntArrayRef({c.num_heads, head_dim})).transpose(1, 2);
    };
    const at::Tensor attended_BTC =
        nn::grouped_query_attention(heads(layer.query), heads(layer.key), heads(layer.value),
                                    {.scale = 1.0 / std::sqrt(static_cast<double>(head_dim)),
                                     .dropout = is_training() ? c.attention_dropout : 0.0,
                                     .stream = &dropout_stream(),
                                     .causal = false});
    x_BTC = at::add(x_BTC, drop(project(attended_BTC, layer.attention_out), c.hidden_dropout));
    const at::Tensor inner = nn::activate(project(normalize(x_BTC, layer.norm_2), layer.up), c.activation);
    x_BTC = at::add(x_BTC, drop(project(inner, layer.down), c.hidden_dropout));
  }
  return normalize(x_BTC, final_norm_);
}

at::Tensor Vit::logits(const at::Tensor& pixels) {
  const at::Tensor x_BTC = hidden(pixels);
  return config_.classifies ? project(x_BTC.select(1, 0), classifier_) : x_BTC;
}

at::Tensor Vit::loss(const at::Tensor& pixels, const at::Tensor& labels_B) {
  if (!config_.classifies) throw_invalid("a vision transformer without a classifier has no loss");
  return nn::cross_entropy(logits(pixels), labels_B);
}

}  // namespace mobula::models
