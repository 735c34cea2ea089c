/// Adapters made part of a checkpoint's parameters, and taken out of them again; and their folders written.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>
#include <vector>

#include "mobula/nn/adapters/adapter.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/module.hpp"

namespace mobula::nn {

/// Returns the matrix with the adapter's change in it, in its own type; `weight` is [out, in], or [in, out] where
/// `inputs_first`, or a table of embeddings. Throws Error(invalid_argument), led by `name`, where shapes don't fit.
at::Tensor merge_adapter(const AdapterModule& module, const at::Tensor& weight, bool inputs_first,
                         const std::string& name);
/// Returns the bias of that matrix with the change in it: IA3 scales what the matrix gives, bias and all.
at::Tensor merge_adapter_bias(const AdapterModule& module, const at::Tensor& bias);
/// Returns the matrix without the change, up to rounding. Throws Error(unsupported) for DoRA, whose lengths hide those of
/// the original, and Error(invalid_argument) for IA3 with a factor of 0.
at::Tensor unmerge_adapter(const AdapterModule& module, const at::Tensor& weight, bool inputs_first,
                           const std::string& name);
/// Returns the bias without the change.
at::Tensor unmerge_adapter_bias(const AdapterModule& module, const at::Tensor& bias);

/// Returns all tensors of a checkpoint, those that the adapter changes with the change in them, or taken out of them where
/// `undo`. Throws Error(invalid_argument) naming a module or parameter of the adapter that the checkpoint lacks, and what
/// unmerge_adapter throws.
std::vector<NamedTensor> merged_parameters(const CheckpointTensors& tensors, const Adapter& adapter, bool undo = false);

/// Writes a folder that PEFT loads; `adapter.config` is written as it is.
void save_adapter(const Adapter& adapter, const std::filesystem::path& directory);

}  // namespace mobula::nn
