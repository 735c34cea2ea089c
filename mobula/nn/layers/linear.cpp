#include "mobula/nn/layers/linear.hpp"

#include <ATen/ops/linear.h>

namespace mobula::nn {

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, WeightLayout layout,
                  Precision precision) {
  const at::ScalarType type = precision == Precision::bf16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor typed = weight.to(type);
  const at::Tensor out_in = layout == WeightLayout::out_in ? typed : typed.t();
  if (!bias.defined()) return at::linear(x.to(type), out_in);
  return at::linear(x.to(type), out_in, bias.to(type));
}

}  // namespace mobula::nn
