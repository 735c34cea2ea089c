#include "mobula/models/encoder/encoder.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/tanh.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/nn/layers/activation.hpp"
#include "mobula/nn/layers/cross_entropy.hpp"
#include "mobula/nn/layers/dropout.hpp"
#include "mobula/nn/layers/embedding.hpp"
#include "mobula/nn/layers/grouped_query_attention.hpp"
#include "mobula/nn/layers/layer_norm.hpp"
#include "mobula/nn/layers/linear.hpp"

namespace mobula::models {

using nn::Initial;
using nn::WeightLayout;

Encoder::Encoder(EncoderConfig config, nn::ParameterSource& source) : config_(std::move(config)) {
  const EncoderConfig& c = config_;
  const std::string embeddings = c.names.trunk + "embeddings.";
  const auto table = [&](const std::string& name, std::int64_t rows) {
    return add(source, embeddings + name + ".weight", {rows, c.hidden}, Initial::normal(c.initializer_range));
  };
  words_ = table("word_embeddings", c.vocab_size);
  positions_ = table("position_embeddings", c.max_positions);
  types_ = table("token_type_embeddings", c.num_token_types);
  embedding_norm_ = add_norm(source, embeddings + "LayerNorm");
  for (std::int64_t i = 0; i < c.num_layers; ++i) {
    const std::string at = fmt::format("{}encoder.layer.{}.", c.names.trunk, i);
    Layer layer;
    layer.query = add_projection(source, at + "attention.self.query", c.hidden, c.hidden);
    layer.key = add_projection(source, at + "attention.self.key", c.hidden, c.hidden);
    layer.value = add_projection(source, at + "attention.self.value", c.hidden, c.hidden);
    layer.attention_out = add_projection(source, at + "attention.output.dense", c.hidden, c.hidden);
    layer.attention_norm = add_norm(source, at + "attention.output.LayerNorm");
    layer.up = add_projection(source, at + "intermediate.dense", c.hidden, c.inner);
    layer.down = add_projection(source, at + "output.dense", c.inner, c.hidden);
    layer.mlp_norm = add_norm(source, at + "output.LayerNorm");
    layers_.push_back(std::move(layer));
  }
  const std::string pooler = c.names.trunk + "pooler.dense";
  const auto num_labels = static_cast<std::int64_t>(c.labels.size());
  switch (c.task) {
    case EncoderTask::features:
      // Kept for those who load what we write; sentence encoders are often saved without it.
      if (source.has(pooler + ".weight")) pooler_ = add_projection(source, pooler, c.hidden, c.hidden);
      break;
    case EncoderTask::masked_lm:
      head_dense_ = add_projection(source, c.names.masked_dense, c.hidden, c.hidden);
      head_norm_ = add_norm(source, c.names.masked_norm);
      masked_bias_ = add(source, c.names.masked_bias, {c.vocab_size}, Initial::zeros());
      break;
    case EncoderTask::sequence_classification:
      if (c.classifier_uses_pooler) {
        pooler_ = add_projection(source, pooler, c.hidden, c.hidden);
      } else {
        head_dense_ = add_projection(source, c.names.classifier_dense, c.hidden, c.hidden);
      }
      classifier_ = add_projection(source, c.names.classifier_out, c.hidden, num_labels);
      break;
    case EncoderTask::token_classification:
      classifier_ = add_projection(source, c.names.classifier_out, c.hidden, num_labels);
      break;
  }
}

at::Tensor Encoder::add(nn::ParameterSource& source, const std::string& name, at::IntArrayRef shape, Initial initial) {
  return add_parameter(name, source.get(name, shape, initial));
}

Encoder::Affine Encoder::add_projection(nn::ParameterSource& source, const std::string& name, std::int64_t in,
                                        std::int64_t out) {
  const at::Tensor weight = add(source, name + ".weight", {out, in}, Initial::normal(config_.initializer_range));
  return {weight, add(source, name + ".bias", {out}, Initial::zeros())};
}

Encoder::Affine Encoder::add_norm(nn::ParameterSource& source, const std::string& name) {
  const at::Tensor weight = add(source, name + ".weight", {config_.hidden}, Initial::ones());
  return {weight, add(source, name + ".bias", {config_.hidden}, Initial::zeros())};
}

at::Tensor Encoder::project(const at::Tensor& x, const Affine& projection) const {
  return nn::linear(x, projection.weight, projection.bias, WeightLayout::out_in, precision_);
}

at::Tensor Encoder::normalize(const at::Tensor& x, const Affine& norm) const {
  return nn::layer_norm(x, norm.weight, norm.bias, config_.norm_eps);
}

at::Tensor Encoder::drop(const at::Tensor& x, double p) {
  return is_training() ? nn::dropout(x, p, dropout_stream()) : x;
}

at::Tensor Encoder::embed(const EncoderInput& input) {
  const std::int64_t length = input.ids_BT.size(1);
  if (length > config_.context()) {
    throw_invalid(
        fmt::format("a text of {} tokens is longer than the model's context of {}", length, config_.context()));
  }
  at::Tensor rows = at::arange(length, at::TensorOptions().dtype(at::kLong)).add(config_.position_offset);
  if (config_.position_offset > 0) {
    // RoBERTa counts the tokens that are no padding; padding has a row of its own.
    const at::Tensor real = input.ids_BT.ne(config_.pad_id).to(at::kLong);
    rows = real.cumsum(1).mul(real).add(config_.pad_id);
  }
  const at::Tensor types = input.types_BT.defined() ? nn::embedding(types_, input.types_BT) : types_.select(0, 0);
  const at::Tensor x_BTC = at::add(at::add(nn::embedding(words_, input.ids_BT).to(at::kFloat), types.to(at::kFloat)),
                                   nn::embedding(positions_, rows).to(at::kFloat));
  return drop(normalize(x_BTC, embedding_norm_), config_.hidden_dropout);
}

at::Tensor Encoder::attention(const at::Tensor& x_BTC, const Layer& layer, const at::Tensor& visible) {
  const std::int64_t head_dim = config_.hidden / config_.num_heads;
  const auto heads = [&](const Affine& projection) {
    return project(x_BTC, projection).unflatten(-1, at::IntArrayRef({config_.num_heads, head_dim})).transpose(1, 2);
  };
  return project(nn::grouped_query_attention(heads(layer.query), heads(layer.key), heads(layer.value),
                                             {.scale = 1.0 / std::sqrt(static_cast<double>(head_dim)),
                                              .dropout = is_training() ? config_.attention_dropout : 0.0,
                                              .stream = &dropout_stream(),
                                              .causal = false,
                                              .visible = visible}),
                 layer.attention_out);
}

at::Tensor Encoder::hidden(const EncoderInput& input) {
  const double p = config_.hidden_dropout;
  const at::Tensor visible =
      input.mask_BT.defined() ? input.mask_BT.unsqueeze(1).unsqueeze(1) : at::Tensor();  // [B, 1, 1, S]
  at::Tensor x_BTC = embed(input);
  for (const Layer& layer : layers_) {
    x_BTC = normalize(at::add(x_BTC, drop(attention(x_BTC, layer, visible), p)), layer.attention_norm);
    const at::Tensor inner_BTF = nn::activate(project(x_BTC, layer.up), config_.activation);
    x_BTC = normalize(at::add(x_BTC, drop(project(inner_BTF, layer.down), p)), layer.mlp_norm);
  }
  return x_BTC;
}

at::Tensor Encoder::logits(const EncoderInput& input) {
  const at::Tensor x_BTC = hidden(input);
  const double p = config_.classifier_dropout;
  switch (config_.task) {
    case EncoderTask::features:
      return x_BTC;
    case EncoderTask::masked_lm: {
      const nn::Activation activation = config_.masked_lm_uses_gelu ? nn::Activation::gelu : config_.activation;
      const at::Tensor y_BTC = normalize(nn::activate(project(x_BTC, head_dense_), activation), head_norm_);
      return project(y_BTC, {words_, masked_bias_});
    }
    case EncoderTask::sequence_classification: {
      const at::Tensor first_BC = x_BTC.select(1, 0);
      const at::Tensor pooled_BC = config_.classifier_uses_pooler ? at::tanh(project(first_BC, pooler_))
                                                                  : at::tanh(project(drop(first_BC, p), head_dense_));
      return project(drop(pooled_BC, p), classifier_);
    }
    case EncoderTask::token_classification:
      return project(drop(x_BTC, p), classifier_);
  }
  throw_internal("encoder: unknown task");
}

at::Tensor Encoder::loss(const EncoderInput& input, const at::Tensor& targets) {
  if (config_.task == EncoderTask::features) throw_invalid("an encoder without a head has no loss");
  const at::Tensor scores = logits(input);
  if (config_.task == EncoderTask::sequence_classification && config_.multi_label) {
    return at::binary_cross_entropy_with_logits(scores.to(at::kFloat), targets.to(at::kFloat));
  }
  return nn::cross_entropy(scores, targets);
}

}  // namespace mobula::models
