#include "mobula/nn/layers/layer_norm.hpp"

#include <ATen/ops/layer_norm.h>

namespace mobula::nn {

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  if (!weight.defined()) return at::layer_norm(x.to(at::kFloat), x.size(-1), {}, {}, eps);
  return at::layer_norm(x.to(at::kFloat), weight.sizes(), weight.to(at::kFloat), bias.to(at::kFloat), eps);
}

}  // namespace mobula::nn
