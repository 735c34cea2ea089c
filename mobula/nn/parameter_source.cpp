#include "mobula/nn/parameter_source.hpp"

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "mobula/base/error.hpp"
#include "mobula/nn/layers/initialization.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {

std::shared_ptr<const QuantizedMatrix> ParameterSource::quantized(const std::string&, at::IntArrayRef) {
  return nullptr;
}

at::Tensor StoredParameters::get(const std::string& name, at::IntArrayRef shape, Initial initial) {
  const at::Tensor value = to_tensor(parameters_.get(name, shape.vec(), initial));
  return writable_ ? value.clone() : value;
}

at::Tensor FreshParameters::get(const std::string& name, at::IntArrayRef shape, Initial initial) {
  switch (initial.kind) {
    case Initial::Kind::normal:
      return normal_tensor(shape, initial.deviation, seed_, name);
    case Initial::Kind::zeros:
      return at::zeros(shape, at::kFloat);
    case Initial::Kind::ones:
      return at::ones(shape, at::kFloat);
  }
  throw_internal("FreshParameters: unknown kind");
}

}  // namespace mobula::nn
