#include "mobula/nn/adapters/merge_adapter.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/div.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>
#include <fmt/format.h>

#include <string_view>
#include <unordered_set>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/nn/safetensors_writer.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {
namespace {

at::Tensor single(const at::Tensor& tensor) {
  return tensor.detach().to(at::kFloat);
}

at::Tensor single(const Array& array) {
  return to_tensor(array.to(at::kFloat));
}

at::Tensor low_rank(const AdapterModule& module) {
  return at::mul(at::matmul(single(module.b), single(module.a)), module.scale);
}

void check_shape(const AdapterModule& module, const at::Tensor& weight_OI, const std::string& name) {
  const bool fits =
      weight_OI.dim() == 2 &&
      (!module.a.defined() || (module.a.size(1) == weight_OI.size(1) && module.b.size(0) == weight_OI.size(0))) &&
      (!module.magnitude.defined() || module.magnitude.numel() == weight_OI.size(0)) &&
      (!module.factor.defined() || module.factor.numel() == weight_OI.size(module.scales_inputs ? 1 : 0));
  if (fits) return;
  throw_invalid(
      fmt::format("the adapter's '{}' doesn't fit a matrix of [{}]", name, fmt::join(weight_OI.sizes(), ", ")),
      "was it trained on another model?");
}

// The factors as a column beside [out, in], or a row.
at::Tensor as_factors(const AdapterModule& module) {
  const at::Tensor factor = single(module.factor);
  return module.scales_inputs ? factor.unsqueeze(0) : factor.unsqueeze(1);
}

// Runs `change` on the matrix outputs first, in fp32.
template <class Change>
at::Tensor changed(const AdapterModule& module, const at::Tensor& weight, bool inputs_first, const std::string& name,
                   Change change) {
  const bool turned = inputs_first || module.is_embedding;
  const at::Tensor weight_OI = turned && weight.dim() == 2 ? single(weight).t() : single(weight);
  check_shape(module, weight_OI, name);
  const at::Tensor result_OI = change(weight_OI);
  return (turned ? result_OI.t().contiguous() : result_OI).to(weight.scalar_type());
}

}  // namespace

at::Tensor merge_adapter(const AdapterModule& module, const at::Tensor& weight, bool inputs_first,
                         const std::string& name) {
  return changed(module, weight, inputs_first, name, [&](const at::Tensor& weight_OI) {
    if (module.factor.defined()) return at::mul(weight_OI, as_factors(module));
    const at::Tensor sum_OI = at::add(weight_OI, low_rank(module));
    return module.magnitude.defined()
               ? at::mul(sum_OI, to_tensor(dora_factors(module, to_array(weight_OI))).unsqueeze(1))
               : sum_OI;
  });
}

at::Tensor merge_adapter_bias(const AdapterModule& module, const at::Tensor& bias) {
  if (!module.factor.defined() || module.scales_inputs) return bias;
  return at::mul(single(bias), single(module.factor)).to(bias.scalar_type());
}

at::Tensor unmerge_adapter(const AdapterModule& module, const at::Tensor& weight, bool inputs_first,
                           const std::string& name) {
  if (module.magnitude.defined()) {
    throw Error(ErrorCode::unsupported, fmt::format("'{}': what DoRA scaled can't be told from its result", name),
                "keep the model from before the merge");
  }
  if (module.factor.defined() && single(module.factor).eq(0).any().item<bool>()) {
    throw_invalid(fmt::format("'{}': the adapter multiplied by 0, which can't be undone", name));
  }
  return changed(module, weight, inputs_first, name, [&](const at::Tensor& weight_OI) {
    if (module.factor.defined()) return at::div(weight_OI, as_factors(module));
    return at::sub(weight_OI, low_rank(module));
  });
}

at::Tensor unmerge_adapter_bias(const AdapterModule& module, const at::Tensor& bias) {
  if (!module.factor.defined() || module.scales_inputs) return bias;
  return at::div(single(bias), single(module.factor)).to(bias.scalar_type());
}

std::vector<NamedTensor> merged_parameters(const CheckpointTensors& tensors, const Adapter& adapter, bool undo) {
  std::unordered_set<std::string> used;
  // Checkpoints of the bare model leave the first part of names out.
  const auto find = [&](const auto& map, const std::string& name) {
    auto found = map.find(name);
    for (auto it = map.begin(); found == map.end() && it != map.end(); ++it) {
      const auto dot = it->first.find('.');
      if (dot != std::string::npos && std::string_view(it->first).substr(dot + 1) == name) found = it;
    }
    if (found != map.end()) used.insert(found->first);
    return found;
  };
  std::vector<NamedTensor> result;
  for (const std::string& name : tensors.names()) {
    at::Tensor value = to_tensor(tensors.tensor(name));
    if (const auto replaced = find(adapter.replacements, name); replaced != adapter.replacements.end()) {
      if (undo) {
        throw Error(ErrorCode::unsupported, fmt::format("'{}' was replaced, its original is lost", name),
                    "keep the model from before the merge");
      }
      value = to_tensor(replaced->second.to(value.scalar_type()));
    }
    const auto dot = name.rfind('.');
    const std::string_view kind = dot == std::string::npos ? "" : std::string_view(name).substr(dot);
    if (kind == ".weight" || kind == ".bias") {
      const auto module = find(adapter.modules, name.substr(0, dot));
      if (module != adapter.modules.end() && kind == ".weight") {
        value = undo ? unmerge_adapter(module->second, value, adapter.inputs_first(), module->first)
                     : merge_adapter(module->second, value, adapter.inputs_first(), module->first);
      } else if (module != adapter.modules.end()) {
        value = undo ? unmerge_adapter_bias(module->second, value) : merge_adapter_bias(module->second, value);
      }
    }
    result.push_back({name, value});
  }
  const auto check = [&](const std::string& name) {
    if (used.contains(name)) return;
    throw_invalid(fmt::format("the adapter changes '{}', which {} lacks", name, tensors.directory().string()),
                  suggest(name, tensors.names()));
  };
  for (const auto& [name, module] : adapter.modules) check(name);
  for (const auto& [name, tensor] : adapter.replacements) check(name);
  return result;
}

void save_adapter(const Adapter& adapter, const std::filesystem::path& directory) {
  std::vector<NamedTensor> tensors;
  const auto add = [&](const std::string& name, const Array& numbers) {
    tensors.push_back({"base_model.model." + name, to_tensor(numbers)});
  };
  for (const auto& [name, module] : adapter.modules) {
    if (module.factor.defined()) {
      add(name + ".ia3_l", module.factor.reshaped(module.scales_inputs ? Shape{1, module.factor.numel()}
                                                                       : Shape{module.factor.numel(), 1}));
      continue;
    }
    add(name + (module.is_embedding ? ".lora_embedding_A" : ".lora_A.weight"), module.a);
    add(name + (module.is_embedding ? ".lora_embedding_B" : ".lora_B.weight"), module.b);
    if (module.magnitude.defined()) add(name + ".lora_magnitude_vector", module.magnitude);
  }
  for (const auto& [name, numbers] : adapter.replacements) {
    // PEFT keeps what belongs to a changed module one level down.
    const auto dot = name.rfind('.');
    const bool inner = dot != std::string::npos && adapter.modules.contains(name.substr(0, dot));
    add(inner ? name.substr(0, dot) + ".base_layer" + name.substr(dot) : name, numbers);
  }
  write_safetensors(directory / "adapter_model.safetensors", tensors);
  write_file_atomic(directory / "adapter_config.json", adapter.config.dump(2) + "\n");
}

}  // namespace mobula::nn
