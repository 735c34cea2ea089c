#include "mobula/models/t5/model.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mul.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "mobula/nn/layers/activation.hpp"
#include "mobula/nn/layers/cross_entropy.hpp"
#include "mobula/nn/layers/dropout.hpp"
#include "mobula/nn/layers/embedding.hpp"
#include "mobula/nn/layers/grouped_query_attention.hpp"
#include "mobula/nn/layers/linear.hpp"
#include "mobula/nn/layers/relative_position_bias.hpp"
#include "mobula/nn/layers/rms_norm.hpp"

namespace mobula::models {

using nn::Initial;

T5::T5(T5Config config, nn::ParameterSource& source) : config_(std::move(config)) {
  const T5Config& c = config_;
  words_ = add(source, "shared.weight", {c.vocab_size, c.hidden}, c.initializer_factor);
  encoder_ = add_stack(source, "encoder.", c.num_layers, false);
  decoder_ = add_stack(source, "decoder.", c.num_decoder_layers, true);
  head_ = c.separate_head ? add(source, "lm_head.weight", {c.vocab_size, c.hidden}, c.initializer_factor) : words_;
}

at::Tensor T5::add(nn::ParameterSource& source, const std::string& name, at::IntArrayRef shape, double deviation) {
  return add_parameter(name, source.get(name, shape, Initial::normal(config_.initializer_factor * deviation)));
}

at::Tensor T5::add_norm(nn::ParameterSource& source, const std::string& name) {
  return add_parameter(name + ".weight", source.get(name + ".weight", {config_.hidden}, Initial::ones()));
}

T5::Attention T5::add_attention(nn::ParameterSource& source, const std::string& name, const std::string& norm) {
  const T5Config& c = config_;
  const std::int64_t width = c.num_heads * c.head_dim;
  const double in = 1.0 / std::sqrt(static_cast<double>(c.hidden));
  // Queries start smaller by the factor that other models divide scores by.
  Attention attention;
  attention.query = add(source, name + ".q.weight", {width, c.hidden}, in / std::sqrt(static_cast<double>(c.head_dim)));
  attention.key = add(source, name + ".k.weight", {width, c.hidden}, in);
  attention.value = add(source, name + ".v.weight", {width, c.hidden}, in);
  attention.out = add(source, name + ".o.weight", {c.hidden, width}, 1.0 / std::sqrt(static_cast<double>(width)));
  attention.norm = add_norm(source, norm);
  return attention;
}

T5::Stack T5::add_stack(nn::ParameterSource& source, const std::string& name, std::int64_t num_layers, bool decodes) {
  const T5Config& c = config_;
  Stack stack;
  for (std::int64_t i = 0; i < num_layers; ++i) {
    const std::string at = fmt::format("{}block.{}.layer.", name, i);
    Block block;
    block.self = add_attention(source, at + "0.SelfAttention", at + "0.layer_norm");
    if (i == 0) {
      stack.biases_NH = add(source, at + "0.SelfAttention.relative_attention_bias.weight", {c.num_buckets, c.num_heads},
                            1.0 / std::sqrt(static_cast<double>(c.hidden)));
    }
    if (decodes) block.cross = add_attention(source, at + "1.EncDecAttention", at + "1.layer_norm");
    const std::string last = at + (decodes ? "2." : "1.");
    const double in = 1.0 / std::sqrt(static_cast<double>(c.hidden));
    if (c.gated) {
      block.gate = add(source, last + "DenseReluDense.wi_0.weight", {c.inner, c.hidden}, in);
      block.up = add(source, last + "DenseReluDense.wi_1.weight", {c.inner, c.hidden}, in);
    } else {
      block.up = add(source, last + "DenseReluDense.wi.weight", {c.inner, c.hidden}, in);
    }
    block.down = add(source, last + "DenseReluDense.wo.weight", {c.hidden, c.inner},
                     1.0 / std::sqrt(static_cast<double>(c.inner)));
    block.mlp_norm = add_norm(source, last + "layer_norm");
    stack.blocks.push_back(std::move(block));
  }
  stack.final_norm = add_norm(source, name + "final_layer_norm");
  return stack;
}

at::Tensor T5::project(const at::Tensor& x, const at::Tensor& weight) const {
  return nn::linear(x, weight, {}, nn::WeightLayout::out_in, precision_);
}

at::Tensor T5::normalize(const at::Tensor& x, const at::Tensor& weight) const {
  return nn::rms_norm(x, weight, config_.norm_eps);
}

at::Tensor T5::drop(const at::Tensor& x, double p) {
  return is_training() ? nn::dropout(x, p, dropout_stream()) : x;
}

at::Tensor T5::embed(const at::Tensor& ids_BT) {
  return drop(nn::embedding(words_, ids_BT).to(at::kFloat), config_.dropout);
}

at::Tensor T5::heads(const at::Tensor& x_BTC, const at::Tensor& weight) const {
  return project(x_BTC, weight).unflatten(-1, at::IntArrayRef({config_.num_heads, config_.head_dim})).transpose(1, 2);
}

at::Tensor T5::attend(const Attention& attention, const at::Tensor& x_BTC, const at::Tensor& keys_BHSD,
                      const at::Tensor& values_BHSD, const at::Tensor& visible, const at::Tensor& bias) {
  return project(nn::grouped_query_attention(heads(x_BTC, attention.query), keys_BHSD, values_BHSD,
                                             {.scale = 1.0,
                                              .dropout = is_training() ? config_.dropout : 0.0,
                                              .stream = &dropout_stream(),
                                              .causal = false,
                                              .visible = visible,
                                              .bias = bias}),
                 attention.out);
}

at::Tensor T5::mlp(const Block& block, const at::Tensor& x_BTC) {
  const at::Tensor up = project(x_BTC, block.up);
  const at::Tensor inner = block.gate.defined()
                               ? at::mul(nn::activate(project(x_BTC, block.gate), config_.activation), up)
                               : nn::activate(up, config_.activation);
  return project(drop(inner, config_.dropout), block.down);
}

at::Tensor T5::encode(const at::Tensor& ids_BS, const at::Tensor& mask_BS) {
  const double p = config_.dropout;
  const std::int64_t length = ids_BS.size(1);
  const at::Tensor visible = mask_BS.defined() ? mask_BS.unsqueeze(1).unsqueeze(1) : at::Tensor();
  const at::Tensor bias =
      nn::relative_position_bias(encoder_.biases_NH, length, length, {.max_distance = config_.max_distance});
  at::Tensor x_BSC = embed(ids_BS);
  for (const Block& block : encoder_.blocks) {
    const at::Tensor normed_BSC = normalize(x_BSC, block.self.norm);
    x_BSC = at::add(x_BSC, drop(attend(block.self, normed_BSC, heads(normed_BSC, block.self.key),
                                       heads(normed_BSC, block.self.value), visible, bias),
                                p));
    x_BSC = at::add(x_BSC, drop(mlp(block, normalize(x_BSC, block.mlp_norm)), p));
  }
  return drop(normalize(x_BSC, encoder_.final_norm), p);
}

T5Cache T5::begin(const at::Tensor& encoded_BSC, const at::Tensor& mask_BS) {
  T5Cache cache;
  if (mask_BS.defined()) cache.visible_B11S = mask_BS.unsqueeze(1).unsqueeze(1);
  for (const Block& block : decoder_.blocks) {
    cache.blocks.push_back({heads(encoded_BSC, block.cross.key), heads(encoded_BSC, block.cross.value), {}, {}});
  }
  return cache;
}

at::Tensor T5::advance(T5Cache& cache, const at::Tensor& ids_BT) {
  const double p = config_.dropout;
  const std::int64_t num_new = ids_BT.size(1), first = cache.num_tokens;
  const at::Tensor earlier = nn::causal_visibility(num_new, first + num_new, 0, {});
  const at::Tensor bias =
      nn::relative_position_bias(decoder_.biases_NH, num_new, first + num_new,
                                 {.bidirectional = false, .max_distance = config_.max_distance, .first_query = first});
  const auto append = [&](at::Tensor& kept, const at::Tensor& more) {
    kept = kept.defined() ? at::cat({kept, more}, 2) : more;
  };
  at::Tensor x_BTC = embed(ids_BT);
  for (std::size_t i = 0; i < decoder_.blocks.size(); ++i) {
    const Block& block = decoder_.blocks[i];
    T5Cache::Block& kept = cache.blocks[i];
    const at::Tensor normed_BTC = normalize(x_BTC, block.self.norm);
    append(kept.keys_BHTD, heads(normed_BTC, block.self.key));
    append(kept.values_BHTD, heads(normed_BTC, block.self.value));
    x_BTC = at::add(x_BTC, drop(attend(block.self, normed_BTC, kept.keys_BHTD, kept.values_BHTD, earlier, bias), p));
    x_BTC = at::add(x_BTC, drop(attend(block.cross, normalize(x_BTC, block.cross.norm), kept.cross_keys_BHSD,
                                       kept.cross_values_BHSD, cache.visible_B11S, {}),
                                p));
    x_BTC = at::add(x_BTC, drop(mlp(block, normalize(x_BTC, block.mlp_norm)), p));
  }
  cache.num_tokens += num_new;
  x_BTC = drop(normalize(x_BTC, decoder_.final_norm), p);
  if (config_.scale_outputs) x_BTC = at::mul(x_BTC, 1.0 / std::sqrt(static_cast<double>(config_.hidden)));
  return project(x_BTC, head_);
}

at::Tensor T5::decode(const at::Tensor& encoded_BSC, const at::Tensor& mask_BS, const at::Tensor& ids_BT) {
  T5Cache cache = begin(encoded_BSC, mask_BS);
  return advance(cache, ids_BT);
}

at::Tensor T5::loss(const at::Tensor& ids_BS, const at::Tensor& mask_BS, const at::Tensor& targets_BT) {
  const at::Tensor start_B1 = at::full({targets_BT.size(0), 1}, config_.decoder_start_id, at::kLong);
  // Targets that are left out are read as the start token, which T5 pads with.
  const at::Tensor read_BT = targets_BT.masked_fill(targets_BT.lt(0), config_.decoder_start_id);
  const at::Tensor shifted_BT = at::cat({start_B1, read_BT.narrow(1, 0, targets_BT.size(1) - 1)}, 1);
  return nn::cross_entropy(decode(encode(ids_BS, mask_BS), mask_BS, shifted_BT), targets_BT);
}

}  // namespace mobula::models
