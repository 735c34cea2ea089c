#include "mobula/nn/module.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula::nn {

Module::~Module() = default;

const at::Tensor& Module::parameter(std::string_view name) const {
  const auto found =
      std::find_if(parameters_.begin(), parameters_.end(), [&](const NamedTensor& p) { return p.name == name; });
  if (found != parameters_.end()) return found->tensor;
  std::vector<std::string> names;
  for (const NamedTensor& p : parameters_) names.push_back(p.name);
  throw Error(ErrorCode::not_found, fmt::format("the model has no parameter '{}'", name), suggest(name, names));
}

std::int64_t Module::num_parameters() const {
  std::int64_t total = 0;
  for (const NamedTensor& p : parameters_) total += p.tensor.numel();
  return total;
}

void Module::zero_grad() {
  for (NamedTensor& p : parameters_) p.tensor.mutable_grad().reset();
}

at::Tensor Module::add_parameter(std::string name, at::Tensor value) {
  value.set_requires_grad(true);
  parameters_.push_back({std::move(name), value});
  return value;
}

}  // namespace mobula::nn
