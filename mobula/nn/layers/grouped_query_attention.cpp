#include "mobula/nn/layers/grouped_query_attention.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/div.h>
#include <ATen/ops/masked_fill.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tanh.h>

#include <cmath>
#include <limits>
#include <vector>

namespace mobula::nn {
namespace {

// Repeats every key-value head for the query heads that share it.
at::Tensor repeat_heads(const at::Tensor& x_BGSD, std::int64_t num_heads) {
  const std::int64_t groups = x_BGSD.size(1);
  if (groups == num_heads) return x_BGSD;
  return x_BGSD.unsqueeze(2)
      .expand({x_BGSD.size(0), groups, num_heads / groups, x_BGSD.size(2), x_BGSD.size(3)})
      .reshape({x_BGSD.size(0), num_heads, x_BGSD.size(2), x_BGSD.size(3)});
}

// The library's fused kernel knows no soft cap, and draws its dropout from a global generator.
at::Tensor attention_by_steps(const at::Tensor& q_BHTD, const at::Tensor& k_BHSD, const at::Tensor& v_BHSD,
                              const GroupedQueryAttentionOptions& options) {
  at::Tensor scores_BHTS = at::mul(at::matmul(q_BHTD, k_BHSD.transpose(2, 3)).to(at::kFloat), options.scale);
  if (options.softcap > 0) scores_BHTS = at::mul(at::tanh(at::div(scores_BHTS, options.softcap)), options.softcap);
  if (options.bias.defined()) scores_BHTS = at::add(scores_BHTS, options.bias);
  at::Tensor visible = options.visible;
  if (!visible.defined() && options.causal) visible = causal_visibility(q_BHTD.size(2), k_BHSD.size(2), 0, {});
  if (visible.defined()) {
    scores_BHTS = scores_BHTS.masked_fill(visible.logical_not(), -std::numeric_limits<double>::infinity());
  }
  at::Tensor weights_BHTS = at::softmax(scores_BHTS, -1).to(q_BHTD.scalar_type());
  if (options.dropout > 0) weights_BHTS = dropout(weights_BHTS, options.dropout, *options.stream);
  return at::matmul(weights_BHTS, v_BHSD);
}

}  // namespace

at::Tensor grouped_query_attention(const at::Tensor& q_BHTD, const at::Tensor& k_BGSD, const at::Tensor& v_BGSD,
                                   const GroupedQueryAttentionOptions& options) {
  const at::Tensor k_BHSD = repeat_heads(k_BGSD, q_BHTD.size(1));
  const at::Tensor v_BHSD = repeat_heads(v_BGSD, q_BHTD.size(1));
  at::Tensor out_BHTD;
  if (options.softcap > 0 || options.dropout > 0 || options.bias.defined()) {
    out_BHTD = attention_by_steps(q_BHTD, k_BHSD, v_BHSD, options);
  } else if (options.visible.defined()) {
    out_BHTD = at::scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, options.visible, 0.0, /*is_causal=*/false,
                                                options.scale);
  } else {
    out_BHTD = at::scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, std::nullopt, 0.0, /*is_causal=*/options.causal,
                                                options.scale);
  }
  return out_BHTD.transpose(1, 2).flatten(2);
}

at::Tensor causal_visibility(std::int64_t num_queries, std::int64_t num_keys, std::int64_t window,
                             const at::Tensor& padding_BS) {
  const at::Tensor keys_S = at::arange(num_keys, at::TensorOptions().dtype(at::kLong));
  const at::Tensor queries_T1 = keys_S.narrow(0, num_keys - num_queries, num_queries).unsqueeze(1);
  at::Tensor visible = keys_S.le(queries_T1);
  if (window > 0) visible = visible.logical_and(keys_S.gt(at::sub(queries_T1, window)));
  visible = visible.unsqueeze(0).unsqueeze(0);
  if (!padding_BS.defined()) return visible;
  // A padded position sees itself, so that no row is empty and its softmax stays finite.
  return visible.logical_and(
      padding_BS.unsqueeze(1).unsqueeze(1).logical_or(keys_S.eq(queries_T1).unsqueeze(0).unsqueeze(0)));
}

}  // namespace mobula::nn
