#include "mobula/nn/adapters/adapted_parameters.hpp"

#include <fmt/format.h>

#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/nn/adapters/merge_adapter.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {

at::Tensor AdaptedParameters::get(const std::string& name, at::IntArrayRef shape, Initial initial) {
  asked_.insert(name);
  at::Tensor value = base_.get(name, shape, initial);
  if (const auto replaced = adapter_.replacements.find(name); replaced != adapter_.replacements.end()) {
    if (at::IntArrayRef(replaced->second.sizes()) != shape) {
      throw_invalid(fmt::format("the adapter's '{}' is [{}], the model's [{}]", name,
                                fmt::join(replaced->second.sizes(), ", "), fmt::join(shape, ", ")),
                    "was it trained on another model?");
    }
    value = to_tensor(replaced->second.to(value.scalar_type()));
  }
  const auto dot = name.rfind('.');
  const auto module = dot == std::string::npos ? adapter_.modules.end() : adapter_.modules.find(name.substr(0, dot));
  if (module == adapter_.modules.end()) return value;
  if (name.ends_with(".weight")) return merge_adapter(module->second, value, adapter_.inputs_first(), module->first);
  if (name.ends_with(".bias")) return merge_adapter_bias(module->second, value);
  return value;
}

void AdaptedParameters::check_all_used() const {
  const auto check = [&](const std::string& name, const std::string& parameter) {
    if (asked_.contains(parameter)) return;
    throw_invalid(fmt::format("the adapter changes '{}', which the model lacks", name),
                  suggest(parameter, std::vector<std::string>(asked_.begin(), asked_.end())));
  };
  for (const auto& [name, module] : adapter_.modules) check(name, name + ".weight");
  for (const auto& [name, tensor] : adapter_.replacements) check(name, name);
}

}  // namespace mobula::nn
