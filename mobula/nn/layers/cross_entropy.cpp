#include "mobula/nn/layers/cross_entropy.hpp"

#include <ATen/ops/cross_entropy_loss.h>

#include "mobula/nn/layers/linear.hpp"

namespace mobula::nn {

at::Tensor tied_head_cross_entropy(const at::Tensor& x_BTC, const at::Tensor& embedding_VC,
                                   const at::Tensor& targets_BT, Precision precision) {
  const at::Tensor logits_BTV = linear(x_BTC, embedding_VC, {}, WeightLayout::out_in, precision).to(at::kFloat);
  return at::cross_entropy_loss(logits_BTV.flatten(0, -2), targets_BT.flatten());
}

}  // namespace mobula::nn
