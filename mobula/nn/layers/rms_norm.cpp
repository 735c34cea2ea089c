#include "mobula/nn/layers/rms_norm.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/rms_norm.h>

namespace mobula::nn {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, double offset) {
  const at::Tensor typed = weight.to(at::kFloat);
  return at::rms_norm(x.to(at::kFloat), weight.sizes(), offset == 0.0 ? typed : at::add(typed, offset), eps);
}

}  // namespace mobula::nn
