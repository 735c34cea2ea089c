/// GPT-2 (Radford et al., "Language models are unsupervised multitask learners", 2019): pre-norm transformer
/// with learned positions, GELU and tied embeddings. Parameters are named and laid out as in transformers'
/// GPT2LMHeadModel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mobula/models/gpt2/config.hpp"
#include "mobula/nn/causal_lm.hpp"
#include "mobula/nn/layers/activation.hpp"
#include "mobula/nn/parameter_source.hpp"

namespace mobula::models {

class Gpt2 final : public nn::CausalLm {
 public:
  /// Makes a model whose parameters come from `source`. Fresh ones start as GPT-2's do: normal with the
  /// configuration's range, residual projections scaled by 1 / sqrt(2 * layers), biases 0.
  Gpt2(Gpt2Config config, nn::ParameterSource& source);

  const nn::CausalLmInfo& info() const override { return info_; }
  Json config() const override { return config_.to_json(); }
  at::Tensor logits(const at::Tensor& ids_BT) override;
  at::Tensor loss(const at::Tensor& ids_BT, const at::Tensor& targets_BT) override;
  nn::DecoderModel decoder_model() const override;

 private:
  struct Norm {
    at::Tensor weight, bias;
  };
  struct Projection {
    at::Tensor weight, bias;  // Conv1D: [in, out]
    std::string name;
  };
  struct Block {
    Norm ln_1;
    Projection attention_in, attention_out;
    Norm ln_2;
    Projection mlp_in, mlp_out;
    double attention_scale;
  };

  Norm add_norm(nn::ParameterSource& source, const std::string& name);
  Projection add_projection(nn::ParameterSource& source, const std::string& name, std::int64_t in, std::int64_t out,
                            double deviation);
  /// Tells whether this forward pass draws dropout: then it goes layer by layer.
  bool drops() const;
  at::Tensor embed(const at::Tensor& ids_BT);
  at::Tensor run_block(const at::Tensor& x_BTC, const Block& block);
  /// Returns the blocks' output, before the last norm.
  at::Tensor residual_stream(const at::Tensor& ids_BT);
  at::Tensor hidden(const at::Tensor& ids_BT);
  at::Tensor project(const at::Tensor& x, const Projection& projection) const;
  at::Tensor drop(const at::Tensor& x, double p);

  Gpt2Config config_;
  nn::CausalLmInfo info_;
  nn::Activation activation_;
  at::Tensor wte_, wpe_;
  std::vector<Block> blocks_;
  Norm ln_f_;
  at::Tensor head_;  // wte_ where tied
};

}  // namespace mobula::models
