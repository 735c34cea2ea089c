/// The bidirectional transformer of BERT and RoBERTa with the heads that stand on it.
///
/// Shape suffixes: B texts, T positions, C width, L labels, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "mobula/models/encoder/config.hpp"
#include "mobula/nn/module.hpp"
#include "mobula/nn/parameter_source.hpp"
#include "mobula/nn/precision.hpp"

namespace mobula::models {

/// A batch of texts, padded to one length.
struct EncoderInput {
  at::Tensor ids_BT;    ///< int64
  at::Tensor mask_BT;   ///< bool, false at padding; undefined: no padding
  at::Tensor types_BT;  ///< int64, which of a pair's texts a token belongs to; undefined: the first
};

class Encoder final : public nn::Module {
 public:
  /// Makes a model whose parameters come from `source`. Fresh ones are normal with the configuration's range, biases 0,
  /// norms 1.
  Encoder(EncoderConfig config, nn::ParameterSource& source);

  const EncoderConfig& description() const noexcept { return config_; }
  /// Returns what goes into config.json.
  Json config() const { return config_.source; }

  /// Returns the last layer's vectors [B, T, C] in fp32. Differentiable. Throws Error(invalid_argument) for texts longer
  /// than the context.
  at::Tensor hidden(const EncoderInput& input);
  /// Returns what the task's head gives: [B, T, C] without a head, [B, T, V], [B, L] or [B, T, L]. Differentiable.
  at::Tensor logits(const EncoderInput& input);
  /// Returns the mean negative log-likelihood of the targets (fp32 scalar): int64 [B, T] for masked_lm and
  /// token_classification, -100 being left out; int64 [B] for sequence_classification, or float [B, L] of zeros and ones
  /// where labels hold by themselves, whose loss is the binary cross-entropy. Differentiable.
  at::Tensor loss(const EncoderInput& input, const at::Tensor& targets);

  /// Sets the precision of the computation; parameters keep their type.
  void set_precision(nn::Precision precision) noexcept { precision_ = precision; }

 private:
  struct Affine {
    at::Tensor weight, bias;
  };
  struct Layer {
    Affine query, key, value, attention_out, attention_norm, up, down, mlp_norm;
  };

  Affine add_projection(nn::ParameterSource& source, const std::string& name, std::int64_t in, std::int64_t out);
  Affine add_norm(nn::ParameterSource& source, const std::string& name);
  at::Tensor add(nn::ParameterSource& source, const std::string& name, at::IntArrayRef shape, nn::Initial initial);
  at::Tensor embed(const EncoderInput& input);
  at::Tensor attention(const at::Tensor& x_BTC, const Layer& layer, const at::Tensor& visible);
  at::Tensor project(const at::Tensor& x, const Affine& projection) const;
  at::Tensor normalize(const at::Tensor& x, const Affine& norm) const;
  at::Tensor drop(const at::Tensor& x, double p);

  EncoderConfig config_;
  nn::Precision precision_ = nn::Precision::fp32;
  at::Tensor words_, positions_, types_;
  Affine embedding_norm_;
  std::vector<Layer> layers_;
  Affine pooler_;                  // undefined where nobody needs it
  Affine head_dense_, head_norm_;  // before the masked LM's scores; dense also before RoBERTa's classifier
  at::Tensor masked_bias_;
  Affine classifier_;
};

}  // namespace mobula::models
