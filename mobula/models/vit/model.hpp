/// The Vision Transformer (Dosovitskiy et al., "An image is worth 16x16 words", 2020). Parameters are named as in the
/// checkpoints of transformers' ViTForImageClassification and ViTModel.
///
/// Shape suffixes: B images, T patches and the class token before them, C width, L labels.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "mobula/models/vit/config.hpp"
#include "mobula/nn/module.hpp"
#include "mobula/nn/parameter_source.hpp"
#include "mobula/nn/precision.hpp"

namespace mobula::models {

class Vit final : public nn::Module {
 public:
  /// Makes a model whose parameters come from `source`.
  Vit(VitConfig config, nn::ParameterSource& source);

  const VitConfig& description() const noexcept { return config_; }
  /// Returns what goes into config.json.
  Json config() const { return config_.source; }

  /// Returns the last layer's vectors [B, T, C] of `pixels` (float [B, channels, height, width]) in fp32. Differentiable.
  /// Throws Error(invalid_argument) for images of another size than the model's.
  at::Tensor hidden(const at::Tensor& pixels);
  /// Returns the scores [B, L] of the labels; a model without a classifier returns hidden(). Differentiable.
  at::Tensor logits(const at::Tensor& pixels);
  /// Returns the mean negative log-likelihood of `labels_B` (int64). Differentiable.
  at::Tensor loss(const at::Tensor& pixels, const at::Tensor& labels_B);

  /// Sets the precision of the computation; parameters keep their type.
  void set_precision(nn::Precision precision) noexcept { precision_ = precision; }

 private:
  struct Affine {
    at::Tensor weight, bias;
  };
  struct Layer {
    Affine norm_1, query, key, value, attention_out, norm_2, up, down;
  };

  at::Tensor add(nn::ParameterSource& source, const std::string& name, at::IntArrayRef shape, nn::Initial initial);
  Affine add_projection(nn::ParameterSource& source, const std::string& name, std::int64_t in, std::int64_t out,
                        bool bias = true);
  Affine add_norm(nn::ParameterSource& source, const std::string& name);
  at::Tensor project(const at::Tensor& x, const Affine& projection) const;
  at::Tensor normalize(const at::Tensor& x, const Affine& norm) const;
  at::Tensor drop(const at::Tensor& x, double p);

  VitConfig config_;
  nn::Precision precision_ = nn::Precision::fp32;
  at::Tensor class_token_, positions_, patch_weight_, patch_bias_;
  std::vector<Layer> layers_;
  Affine final_norm_, pooler_, classifier_;
};

}  // namespace mobula::models
