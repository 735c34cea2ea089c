/// The end of a language model as one differentiable function: norm, head, cross-entropy.
#pragma once

#include <ATen/core/Tensor.h>

#include "mobula/nn/precision.hpp"

namespace mobula::nn::kernels {

/// Tells whether norm_head_cross_entropy can take these: fp32 in main memory, contiguous, and in bf16 a width that
/// is a multiple of 32.
bool can_run_norm_head_cross_entropy(const at::Tensor& x_BTC, const at::Tensor& norm_weight,
                                     const at::Tensor& norm_bias, const at::Tensor& head_VC, Precision precision);

/// Returns the mean over targets other than -100 of -log softmax(norm(x) · headᵀ)[target], fp32. `targets_BT`
/// holds int64. The scores' gradient is made in the forward pass, over the scores. Differentiable once in all but
/// the targets. Throws Error(invalid_argument) naming a target outside the vocabulary. NaN where every target is
/// -100.
at::Tensor norm_head_cross_entropy(const at::Tensor& x_BTC, const at::Tensor& norm_weight, const at::Tensor& norm_bias,
                                   double epsilon, const at::Tensor& head_VC, const at::Tensor& targets_BT,
                                   Precision precision);

}  // namespace mobula::nn::kernels
