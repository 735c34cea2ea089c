/// The causal transformer that most families share, configured by DecoderConfig.
///
/// Shape suffixes: B sequences, T positions, C width, H query heads, G key-value heads, D width of a head.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "mobula/models/decoder/config.hpp"
#include "mobula/models/decoder/weights.hpp"
#include "mobula/nn/causal_lm.hpp"
#include "mobula/nn/layers/rotary_embedding.hpp"
#include "mobula/nn/parameter_source.hpp"

namespace mobula::models {

class DecoderLm final : public nn::CausalLm {
 public:
  /// Makes a model whose parameters come from `source`. Fresh ones are normal with the configuration's range, biases 0,
  /// norms 1.
  DecoderLm(DecoderConfig config, nn::ParameterSource& source);

  const nn::CausalLmInfo& info() const override { return info_; }
  Json config() const override { return config_.source; }
  at::Tensor logits(const at::Tensor& ids_BT) override;
  at::Tensor loss(const at::Tensor& ids_BT, const at::Tensor& targets_BT) override;
  /// Throws Error(unsupported) for what the decoder's kernels don't run: layers normalised after they are added, and
  /// projected embeddings.
  nn::DecoderModel decoder_model() const override;

  /// Returns the scores [B, T, V] of sequences padded on either side: `mask_BT` (bool) is false at padding, whose own
  /// scores mean nothing. Positions count from the first token that is none.
  at::Tensor logits(const at::Tensor& ids_BT, const at::Tensor& mask_BT);

  /// Returns what the decoder was made from.
  const DecoderConfig& description() const noexcept { return config_; }

 private:
  using Projection = Affine<at::Tensor>;
  using LayerWeights = DecoderLayerWeights<at::Tensor>;

  /// What the layers of one forward share.
  struct Pass {
    at::Tensor positions;                 // int64 [T] or [B, T]
    std::vector<nn::RotaryTable> rotary;  // one for each of the configuration's
    std::vector<at::Tensor> visible;      // one for each layer; undefined: causal
    at::Tensor bias;                      // of linear biases
  };

  Pass begin(const at::Tensor& ids_BT, const at::Tensor& mask_BT) const;
  at::Tensor hidden(const at::Tensor& ids_BT, const at::Tensor& mask_BT);
  at::Tensor head(const at::Tensor& x_BTC) const;
  at::Tensor embed(const at::Tensor& ids_BT, const Pass& pass);
  at::Tensor attention(const at::Tensor& x_BTC, std::size_t layer, const Pass& pass);
  at::Tensor mlp(const at::Tensor& x_BTC, const LayerWeights& layer);
  at::Tensor normalize(const at::Tensor& x, const Projection& norm) const;
  at::Tensor project(const at::Tensor& x, const Projection& projection) const;
  at::Tensor drop(const at::Tensor& x, double p);

  DecoderConfig config_;
  nn::CausalLmInfo info_;
  std::vector<nn::RotaryEmbedding> rotary_;
  DecoderWeights<at::Tensor> weights_;
};

}  // namespace mobula::models
