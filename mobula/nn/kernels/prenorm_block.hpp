/// A whole pre-norm transformer block as one differentiable function, for training on processors.
///
///     x1 = x + proj(attention(qkv(norm1(x))));  y = x1 + out(gelu(in(norm2(x1))))
///
/// Layer by layer, a small model spends more time in handing tensors between operations than in its matrix
/// products. Here a thread takes 64 rows through everything between two attentions while they lie in its cache,
/// the threads meet three times a block, and the gradient is written out by hand.
///
/// Results don't depend on the number of threads: every number is summed by one task in a fixed order.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "mobula/nn/precision.hpp"

namespace mobula::nn::kernels {

/// The parameters of a block: fp32, weights inputs first ([in, out], GPT-2's Conv1D).
struct PrenormBlockParameters {
  at::Tensor norm1_weight, norm1_bias;
  at::Tensor qkv_weight, qkv_bias;    ///< [C, 3C]: query, key, value side by side
  at::Tensor proj_weight, proj_bias;  ///< [C, C]
  at::Tensor norm2_weight, norm2_bias;
  at::Tensor in_weight, in_bias;    ///< [C, F]
  at::Tensor out_weight, out_bias;  ///< [F, C]
};

struct PrenormBlockOptions {
  std::int64_t num_heads = 1;
  double attention_scale = 1.0;  ///< what attention scores are multiplied by
  double epsilon = 1e-5;         ///< of both norms
  /// bf16: inputs of the matrix products are rounded to bfloat16; everything else stays fp32.
  Precision precision = Precision::fp32;
};

/// Tells whether prenorm_block can take these: fp32 tensors in main memory, contiguous, and in bf16 widths that are
/// multiples of 32. Otherwise the caller composes the block of single layers.
bool can_run_prenorm_block(const at::Tensor& x_BTC, const PrenormBlockParameters& parameters,
                           const PrenormBlockOptions& options);

/// Returns the block's output [B, T, C], fp32, with causal multi-head attention and GELU in its tanh form.
/// Differentiable once in `x_BTC` and all parameters.
at::Tensor prenorm_block(const at::Tensor& x_BTC, const PrenormBlockParameters& parameters,
                         const PrenormBlockOptions& options);

}  // namespace mobula::nn::kernels
