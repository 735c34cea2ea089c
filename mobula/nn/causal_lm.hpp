/// A model that predicts the next token.
///
/// Shape suffixes: B sequences, T positions, C width, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/decoder/spec.hpp"
#include "mobula/nn/generate/engine.hpp"
#include "mobula/nn/module.hpp"
#include "mobula/nn/precision.hpp"

namespace mobula::nn {

/// The sizes that trainers, caches and servers ask a model for.
struct CausalLmInfo {
  std::string family;  ///< Hugging Face's model_type
  std::int64_t vocab_size = 0;
  std::int64_t context = 0;  ///< the most positions a sequence may have
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t hidden = 0;
  std::vector<TokenId> eos_ids;  ///< tokens that end a text
};

class CausalLm : public Module {
 public:
  virtual const CausalLmInfo& info() const = 0;
  /// Returns what goes into config.json, in Hugging Face's spelling.
  virtual Json config() const = 0;

  /// Returns the scores [B, T, V] of every position's next token, in the precision's type. `ids_BT` holds
  /// int64. Differentiable. Throws Error(invalid_argument) where T is larger than the context.
  virtual at::Tensor logits(const at::Tensor& ids_BT) = 0;
  /// Returns the mean negative log-likelihood (natural logarithm, fp32 scalar) of `targets_BT` (int64; -100
  /// is left out). Differentiable. The targets are those of the same position: the caller shifts.
  virtual at::Tensor loss(const at::Tensor& ids_BT, const at::Tensor& targets_BT) = 0;

  /// Returns the model as the decode loop runs it; the tensors are the parameters themselves where their layout allows.
  /// Throws Error(unsupported) for a family that can't be run that way.
  virtual DecoderModel decoder_model() const = 0;

  /// Sets the precision of the computation; the default is fp32. Parameters keep their type.
  void set_precision(Precision precision) noexcept { precision_ = precision; }
  Precision precision() const noexcept { return precision_; }

 private:
  Precision precision_ = Precision::fp32;
};

}  // namespace mobula::nn
