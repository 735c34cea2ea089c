/// Attention.
///
/// Shape suffixes: B sequences, T positions, H heads, D width of a head, C = H * D.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "mobula/nn/layers/dropout.hpp"

namespace mobula::nn {

struct CausalAttentionOptions {
  std::int64_t num_heads = 1;
  std::optional<double> scale;      ///< what scores are multiplied by; default 1 / sqrt(D)
  double dropout = 0.0;             ///< probability of dropping an attention weight
  DropoutStream* stream = nullptr;  ///< needed where dropout > 0
};

/// Multi-head scaled dot-product attention in which a position sees itself and what stands before it (Vaswani
/// et al. 2017). `qkv_BT3C` holds query, key and value side by side; returns [B, T, C] in its type.
/// Differentiable.
at::Tensor causal_self_attention(const at::Tensor& qkv_BT3C, const CausalAttentionOptions& options);

}  // namespace mobula::nn
