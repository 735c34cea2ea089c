#include "mobula/nn/layers/activation_kind.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"

namespace mobula::nn {

Activation parse_activation(std::string_view text) {
  if (text == "gelu") return Activation::gelu;
  if (text == "gelu_new" || text == "gelu_pytorch_tanh" || text == "gelu_fast") return Activation::gelu_tanh;
  if (text == "quick_gelu") return Activation::quick_gelu;
  if (text == "relu") return Activation::relu;
  if (text == "silu" || text == "swish") return Activation::silu;
  throw Error(ErrorCode::unsupported, fmt::format("activation '{}' is not supported", text),
              "known: gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu, silu, swish");
}

}  // namespace mobula::nn
