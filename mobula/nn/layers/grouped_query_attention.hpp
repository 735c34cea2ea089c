/// Attention in which several query heads share one head of keys and values (Ainslie et al., "GQA", 2023), over all or a
/// window of what stands before, with padding, soft-capped scores, and linear biases (Press et al., "ALiBi", 2022).
///
/// Shape suffixes: B sequences, T queries, S keys, H query heads, G key-value heads, D width of a head.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "mobula/nn/layers/dropout.hpp"

namespace mobula::nn {

struct GroupedQueryAttentionOptions {
  double scale = 1.0;               ///< what scores are multiplied by
  double softcap = 0.0;             ///< c > 0: scores become c * tanh(score / c)
  double dropout = 0.0;             ///< probability of dropping an attention weight
  DropoutStream* stream = nullptr;  ///< needed where dropout > 0
  bool causal = true;               ///< where `visible` is undefined: a query sees its own and all earlier positions
  at::Tensor visible;               ///< bool, broadcast to [B, 1, T, S]; undefined: see `causal`
  at::Tensor bias;                  ///< fp32, added to the scores, broadcast to [B, H, T, S]; undefined: none
};

/// Returns [B, T, H * D] in the queries' type. `q_BHTD`, `k_BGSD` and `v_BGSD` have one type; H is a multiple of G; T
/// equals S where a causal query's `visible` is undefined. Differentiable.
at::Tensor grouped_query_attention(const at::Tensor& q_BHTD, const at::Tensor& k_BGSD, const at::Tensor& v_BGSD,
                                   const GroupedQueryAttentionOptions& options);

/// Returns which keys the last `num_queries` of `num_keys` positions see, as bool [1|B, 1, T, S]: their own and earlier
/// ones, the nearest `window` of them (0: all). `padding_BS` (bool, may be undefined) is false at positions that nobody
/// but themselves may see.
at::Tensor causal_visibility(std::int64_t num_queries, std::int64_t num_keys, std::int64_t window,
                             const at::Tensor& padding_BS);

}  // namespace mobula::nn
