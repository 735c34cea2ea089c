#include "mobula/nn/layers/mixture_of_experts.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/div.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_add.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include <vector>

namespace mobula::nn {

Routing route_to_experts(const at::Tensor& x_NC, const at::Tensor& router_EC, std::int64_t num_chosen, bool normalize) {
  const at::Tensor scores_NE = at::linear(x_NC.to(at::kFloat), router_EC.to(at::kFloat));
  auto [weights_NK, experts_NK] = at::topk(at::softmax(scores_NE, -1), num_chosen, -1);
  if (normalize) weights_NK = at::div(weights_NK, weights_NK.sum(at::IntArrayRef{-1}, /*keepdim=*/true));
  return {weights_NK, experts_NK};
}

at::Tensor mixture_of_experts(const at::Tensor& x_NC, const Routing& routing, std::int64_t num_experts,
                              const std::function<at::Tensor(std::int64_t, const at::Tensor&)>& expert) {
  const at::Tensor chosen = routing.experts_NK.contiguous();
  const auto* expert_of = chosen.const_data_ptr<std::int64_t>();
  const std::int64_t num_chosen = chosen.size(1);
  // For every expert its places in the flattened [N, K], in the tokens' order.
  std::vector<std::vector<std::int64_t>> places(static_cast<std::size_t>(num_experts));
  for (std::int64_t i = 0; i < chosen.numel(); ++i) places[static_cast<std::size_t>(expert_of[i])].push_back(i);

  const at::Tensor weights_flat = routing.weights_NK.flatten();
  at::Tensor sum_NC = at::zeros(x_NC.sizes(), x_NC.options().dtype(at::kFloat).requires_grad(false));
  for (std::int64_t e = 0; e < num_experts; ++e) {
    std::vector<std::int64_t>& mine = places[static_cast<std::size_t>(e)];
    // While gradients are recorded an expert without tokens runs too: its gradient is zero rather than absent, so that
    // every rank of a data-parallel run has the same gradients to sum.
    if (mine.empty() && !at::GradMode::is_enabled()) continue;
    const at::Tensor places_M =
        at::from_blob(mine.data(), {static_cast<std::int64_t>(mine.size())}, at::TensorOptions().dtype(at::kLong))
            .clone();
    const at::Tensor tokens_M = places_M.div(num_chosen, "floor");
    const at::Tensor result_MC = expert(e, at::index_select(x_NC, 0, tokens_M)).to(at::kFloat);
    const at::Tensor weights_M1 = at::index_select(weights_flat, 0, places_M).unsqueeze(1);
    sum_NC = at::index_add(sum_NC, 0, tokens_M, at::mul(result_MC, weights_M1));
  }
  return sum_NC;
}

}  // namespace mobula::nn
