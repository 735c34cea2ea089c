/// Losses on next-token scores.
#pragma once

#include <ATen/core/Tensor.h>

#include "mobula/nn/precision.hpp"

namespace mobula::nn {

/// Returns the mean over targets other than -100 of -log softmax(logits)[target] as an fp32 scalar, computed in fp32.
/// `targets_BT` holds int64. Differentiable.
at::Tensor cross_entropy(const at::Tensor& logits_BTV, const at::Tensor& targets_BT);

/// Returns the mean over targets other than -100 of -log softmax(x · embeddingᵀ)[target] as an fp32 scalar,
/// the head being the embedding table itself or a matrix of its shape. `targets_BT` holds int64. The scores
/// are made in the precision's type, the loss in fp32. Differentiable.
at::Tensor tied_head_cross_entropy(const at::Tensor& x_BTC, const at::Tensor& embedding_VC,
                                   const at::Tensor& targets_BT, Precision precision);

}  // namespace mobula::nn
