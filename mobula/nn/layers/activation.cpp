#include "mobula/nn/layers/activation.hpp"

#include <ATen/ops/gelu.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <fmt/format.h>

#include "mobula/base/error.hpp"

namespace mobula::nn {

at::Tensor gelu_tanh(const at::Tensor& x) {
  return at::gelu(x, "tanh");
}

Activation parse_activation(std::string_view text) {
  if (text == "gelu") return Activation::gelu;
  if (text == "gelu_new" || text == "gelu_pytorch_tanh" || text == "gelu_fast") return Activation::gelu_tanh;
  if (text == "quick_gelu") return Activation::quick_gelu;
  if (text == "relu") return Activation::relu;
  if (text == "silu" || text == "swish") return Activation::silu;
  throw Error(ErrorCode::unsupported, fmt::format("activation '{}' is not supported", text),
              "known: gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu, silu, swish");
}

at::Tensor activate(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::gelu:
      return at::gelu(x, "none");
    case Activation::gelu_tanh:
      return gelu_tanh(x);
    case Activation::quick_gelu:
      return at::mul(x, at::sigmoid(at::mul(x, 1.702)));
    case Activation::relu:
      return at::relu(x);
    case Activation::silu:
      return at::silu(x);
  }
  throw_internal("activate: unknown activation");
}

}  // namespace mobula::nn
