/// Normalisation over the last dimension.
#pragma once

#include <ATen/core/Tensor.h>

namespace mobula::nn {

/// Layer normalisation (Ba, Kiros, Hinton 2016): (x - mean) / sqrt(var + eps) * weight + bias; without
/// weight and bias where both are undefined. Computes in fp32 and returns fp32. Differentiable.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps);

}  // namespace mobula::nn
