/// A mixture of experts: each token goes to the few MLPs that a router scores highest (Shazeer et al., "Outrageously
/// large neural networks", 2017).
///
/// Shape suffixes: N tokens, C width, E experts, K experts a token goes to.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace mobula::nn {

/// Where tokens go.
struct Routing {
  at::Tensor weights_NK;  ///< fp32
  at::Tensor experts_NK;  ///< int64, each token's in falling order of probability
};

/// Routes tokens to the `num_chosen` likeliest experts under softmax(x · routerᵀ), computed in fp32. With `normalize`, a
/// token's weights sum to 1. Differentiable in the weights.
Routing route_to_experts(const at::Tensor& x_NC, const at::Tensor& router_EC, std::int64_t num_chosen, bool normalize);

/// Returns each token's weighted sum of its experts' results [N, C] in fp32. `expert` gets its number and the tokens
/// [M, C] that go to it, M being 0 at times. Differentiable.
at::Tensor mixture_of_experts(const at::Tensor& x_NC, const Routing& routing, std::int64_t num_experts,
                              const std::function<at::Tensor(std::int64_t, const at::Tensor&)>& expert);

}  // namespace mobula::nn
