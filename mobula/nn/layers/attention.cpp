#include "mobula/nn/layers/attention.hpp"

#include <ATen/ops/masked_fill.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/triu.h>

#include <cmath>
#include <limits>

namespace mobula::nn {
namespace {

// The library's fused kernel draws its dropout from a global generator; ours must come from the stream.
at::Tensor attention_with_dropout(const at::Tensor& q_BHTD, const at::Tensor& k_BHTD, const at::Tensor& v_BHTD,
                                  const CausalAttentionOptions& options) {
  const std::int64_t num_positions = q_BHTD.size(2);
  const double scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(q_BHTD.size(3))));
  const at::Tensor future_TT =
      at::ones({num_positions, num_positions}, q_BHTD.options().dtype(at::kBool).requires_grad(false)).triu(1);
  const at::Tensor scores_BHTT = at::mul(at::matmul(q_BHTD, k_BHTD.transpose(2, 3)), scale)
                                     .masked_fill(future_TT, -std::numeric_limits<double>::infinity());
  const at::Tensor weights_BHTT = at::softmax(scores_BHTT, -1, at::kFloat).to(q_BHTD.scalar_type());
  return at::matmul(dropout(weights_BHTT, options.dropout, *options.stream), v_BHTD);
}

}  // namespace

at::Tensor causal_self_attention(const at::Tensor& qkv_BT3C, const CausalAttentionOptions& options) {
  const std::int64_t batch = qkv_BT3C.size(0);
  const std::int64_t num_positions = qkv_BT3C.size(1);
  const std::int64_t width = qkv_BT3C.size(2) / 3;
  const at::Tensor qkv_3BHTD =
      qkv_BT3C.view({batch, num_positions, 3, options.num_heads, width / options.num_heads}).permute({2, 0, 3, 1, 4});
  const at::Tensor q_BHTD = qkv_3BHTD.select(0, 0);
  const at::Tensor k_BHTD = qkv_3BHTD.select(0, 1);
  const at::Tensor v_BHTD = qkv_3BHTD.select(0, 2);
  const at::Tensor out_BHTD = options.dropout > 0
                                  ? attention_with_dropout(q_BHTD, k_BHTD, v_BHTD, options)
                                  : at::scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, std::nullopt, 0.0,
                                                                     /*is_causal=*/true, options.scale);
  return out_BHTD.transpose(1, 2).reshape({batch, num_positions, width});
}

}  // namespace mobula::nn
