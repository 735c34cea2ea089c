/// The Vision Transformer's configuration as config.json holds it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/layers/activation_kind.hpp"

namespace mobula::models {

/// Fields and defaults are those of transformers' ViTConfig.
struct VitConfig {
  Json source;  ///< config.json as read, with what we use filled in
  std::int64_t hidden = 768;
  std::int64_t inner = 3072;
  std::int64_t num_layers = 12;
  std::int64_t num_heads = 12;
  std::int64_t image_height = 224, image_width = 224;  ///< pixels
  std::int64_t patch_height = 16, patch_width = 16;    ///< pixels
  std::int64_t num_channels = 3;
  std::int64_t pooler_width = 768;
  bool qkv_bias = true;
  double norm_eps = 1e-12;
  double hidden_dropout = 0.0, attention_dropout = 0.0;
  double initializer_range = 0.02;
  nn::Activation activation = nn::Activation::gelu;
  bool classifies = true;           ///< ViTForImageClassification; else ViTModel
  std::vector<std::string> labels;  ///< names of the classes, in order

  std::int64_t num_patches() const noexcept { return (image_height / patch_height) * (image_width / patch_width); }

  /// Reads config.json. Throws Error naming the key that is wrong.
  static VitConfig from_json(const Json& json);
};

}  // namespace mobula::models
