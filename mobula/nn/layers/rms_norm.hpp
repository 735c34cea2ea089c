/// Normalisation by the root mean square (Zhang & Sennrich, "Root mean square layer normalization", NeurIPS 2019).
#pragma once

#include <ATen/core/Tensor.h>

namespace mobula::nn {

/// Returns x / sqrt(mean(x²) + eps) * (weight + offset) over the last dimension. `offset` is 0 as in Llama, or 1 as in
/// Gemma, whose weights start at 0. Computes in fp32 and returns fp32. Differentiable.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, double offset = 0.0);

}  // namespace mobula::nn
