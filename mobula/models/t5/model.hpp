/// T5 (Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer", 2020): an
/// encoder and a decoder that attends to it, without absolute positions. Parameters are named as in transformers'
/// T5ForConditionalGeneration.
///
/// Shape suffixes: B sequences, S positions of the encoder, T of the decoder, C width, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "mobula/models/t5/config.hpp"
#include "mobula/nn/module.hpp"
#include "mobula/nn/parameter_source.hpp"
#include "mobula/nn/precision.hpp"

namespace mobula::models {

/// What decoding keeps of the texts read so far, in the precision's type. Made by T5::begin, grown by T5::advance.
struct T5Cache {
  struct Block {
    at::Tensor cross_keys_BHSD, cross_values_BHSD;  ///< of the encoder's vectors
    at::Tensor keys_BHTD, values_BHTD;              ///< of the decoder's tokens; undefined before the first
  };
  std::vector<Block> blocks;
  at::Tensor visible_B11S;      ///< bool, false at the encoder's padding; undefined: none
  std::int64_t num_tokens = 0;  ///< that the decoder has read
};

class T5 final : public nn::Module {
 public:
  /// Makes a model whose parameters come from `source`.
  T5(T5Config config, nn::ParameterSource& source);

  const T5Config& description() const noexcept { return config_; }
  /// Returns what goes into config.json.
  Json config() const { return config_.source; }

  /// Returns the encoder's vectors [B, S, C] in fp32. `mask_BS` (bool) is false at padding; undefined: none.
  at::Tensor encode(const at::Tensor& ids_BS, const at::Tensor& mask_BS);
  /// Returns the cache of decoders that have read nothing yet, given what encode() returned. Differentiable.
  T5Cache begin(const at::Tensor& encoded_BSC, const at::Tensor& mask_BS);
  /// Reads the decoders' next tokens and returns the scores [B, T, V] of what follows each. How many tokens a
  /// call reads changes nothing but rounding. Differentiable.
  at::Tensor advance(T5Cache& cache, const at::Tensor& ids_BT);
  /// Returns what begin() and one advance() give.
  at::Tensor decode(const at::Tensor& encoded_BSC, const at::Tensor& mask_BS, const at::Tensor& ids_BT);
  /// Returns the mean negative log-likelihood of `targets_BT` (int64; -100 is left out), which the decoder reads shifted
  /// right behind its start token. Differentiable.
  at::Tensor loss(const at::Tensor& ids_BS, const at::Tensor& mask_BS, const at::Tensor& targets_BT);

  /// Sets the precision of the computation; parameters keep their type.
  void set_precision(nn::Precision precision) noexcept { precision_ = precision; }

 private:
  struct Attention {
    at::Tensor norm, query, key, value, out;
  };
  struct Block {
    Attention self, cross;  // cross: the decoder's only
    at::Tensor mlp_norm, gate, up, down;
  };
  struct Stack {
    std::vector<Block> blocks;
    at::Tensor biases_NH, final_norm;
  };

  at::Tensor add(nn::ParameterSource& source, const std::string& name, at::IntArrayRef shape, double deviation);
  at::Tensor add_norm(nn::ParameterSource& source, const std::string& name);
  Attention add_attention(nn::ParameterSource& source, const std::string& name, const std::string& norm);
  Stack add_stack(nn::ParameterSource& source, const std::string& name, std::int64_t num_layers, bool decodes);
  at::Tensor embed(const at::Tensor& ids_BT);
  at::Tensor project(const at::Tensor& x, const at::Tensor& weight) const;
  at::Tensor normalize(const at::Tensor& x, const at::Tensor& weight) const;
  at::Tensor drop(const at::Tensor& x, double p);
  at::Tensor heads(const at::Tensor& x_BTC, const at::Tensor& weight) const;
  at::Tensor attend(const Attention& attention, const at::Tensor& x_BTC, const at::Tensor& keys_BHSD,
                    const at::Tensor& values_BHSD, const at::Tensor& visible, const at::Tensor& bias);
  at::Tensor mlp(const Block& block, const at::Tensor& x_BTC);

  T5Config config_;
  nn::Precision precision_ = nn::Precision::fp32;
  at::Tensor words_, head_;
  Stack encoder_, decoder_;
};

}  // namespace mobula::models
