#include "mobula/nn/parameter_arrays.hpp"

#include <fmt/format.h>

#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {

ParameterArrays::ParameterArrays(const Module& module, Quantized quantized) : quantized_(std::move(quantized)) {
  for (const NamedTensor& parameter : module.parameters()) {
    arrays_.emplace(parameter.name, to_array(parameter.tensor));
  }
}

Array ParameterArrays::get(const std::string& name, const Shape&, Initial) const {
  const auto found = arrays_.find(name);
  if (found == arrays_.end()) throw Error(ErrorCode::not_found, fmt::format("the model has no parameter '{}'", name));
  return found->second;
}

std::shared_ptr<const QuantizedMatrix> ParameterArrays::quantized(const std::string& name, const Shape&) const {
  const auto found = quantized_.find(name);
  return found == quantized_.end() ? nullptr : found->second;
}

}  // namespace mobula::nn
