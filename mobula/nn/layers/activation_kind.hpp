/// The names of the pointwise non-linearities, without torch.
#pragma once

#include <string_view>

namespace mobula::nn {

enum class Activation { gelu, gelu_tanh, quick_gelu, relu, silu };

/// Parses Hugging Face's spellings (gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu, silu,
/// swish); throws Error(unsupported) for others.
Activation parse_activation(std::string_view text);

}  // namespace mobula::nn
