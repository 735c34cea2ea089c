/// Affine maps.
#pragma once

#include <ATen/core/Tensor.h>

#include "mobula/nn/precision.hpp"

namespace mobula::nn {

/// How a weight matrix lies: outputs first as in Llama and BERT, or inputs first as in GPT-2's Conv1D.
enum class WeightLayout { out_in, in_out };

/// Returns x · W + bias over the last dimension; `bias` may be undefined. In bf16, inputs and result are
/// bfloat16 and the parameters are rounded for the product; their gradients arrive in the parameters' own
/// type. Differentiable.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, WeightLayout layout,
                  Precision precision);

}  // namespace mobula::nn
