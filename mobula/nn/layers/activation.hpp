/// Pointwise non-linearities.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

#include "mobula/nn/layers/activation_kind.hpp"

namespace mobula::nn {

/// Gaussian error linear unit by its tanh approximation (Hendrycks & Gimpel 2016): GPT-2's "gelu_new".
/// Differentiable.
at::Tensor gelu_tanh(const at::Tensor& x);

/// Parses Hugging Face's spellings (gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu, silu,
/// swish); throws Error(unsupported) for others.
Activation parse_activation(std::string_view text);
/// Applies an activation. Differentiable.
at::Tensor activate(const at::Tensor& x, Activation activation);

}  // namespace mobula::nn
