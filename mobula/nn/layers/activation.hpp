/// Pointwise non-linearities.
#pragma once

#include <ATen/core/Tensor.h>

#include "mobula/nn/layers/activation_kind.hpp"

namespace mobula::nn {

/// Gaussian error linear unit by its tanh approximation (Hendrycks & Gimpel 2016): GPT-2's "gelu_new".
/// Differentiable.
at::Tensor gelu_tanh(const at::Tensor& x);

/// Applies an activation. Differentiable.
at::Tensor activate(const at::Tensor& x, Activation activation);

}  // namespace mobula::nn
