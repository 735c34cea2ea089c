/// The names of the pointwise non-linearities, without torch.
#pragma once

namespace mobula::nn {

enum class Activation { gelu, gelu_tanh, quick_gelu, relu, silu };

}  // namespace mobula::nn
