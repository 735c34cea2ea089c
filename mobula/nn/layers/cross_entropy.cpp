#include "mobula/nn/layers/cross_entropy.hpp"

#include <ATen/ops/cross_entropy_loss.h>

#include "mobula/nn/layers/linear.hpp"

namespace mobula::nn {

at::Tensor cross_entropy(const at::Tensor& logits_BTV, const at::Tensor& targets_BT) {
  return at::cross_entropy_loss(logits_BTV.to(at::kFloat).flatten(0, -2), targets_BT.flatten());
}

at::Tensor tied_head_cross_entropy(const at::Tensor& x_BTC, const at::Tensor& embedding_VC,
                                   const at::Tensor& targets_BT, Precision precision) {
  return cross_entropy(linear(x_BTC, embedding_VC, {}, WeightLayout::out_in, precision), targets_BT);
}

}  // namespace mobula::nn
