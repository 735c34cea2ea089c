/// Adapters: small additions to some of a model's matrices, in the file format of Hugging Face's PEFT
/// (adapter_config.json, adapter_model.safetensors).
///
/// LoRA (Hu et al. 2021): W + scale · B · A, where scale is alpha / rank, or alpha / sqrt(rank) with rsLoRA (Kalajdzievski
/// 2023). DoRA (Liu et al. 2024): the rows of that, scaled to given lengths. IA3 (Liu et al. 2022): rows or columns of W
/// times given factors.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/module.hpp"

namespace mobula::nn {

/// What an adapter does to one matrix; undefined tensors: nothing of that kind.
struct AdapterModule {
  at::Tensor a, b;       ///< LoRA: [rank, in] and [out, rank]
  double scale = 1.0;    ///< of B · A
  at::Tensor magnitude;  ///< DoRA: [out]
  at::Tensor factor;     ///< IA3: [out], or [in] where `scales_inputs`
  bool scales_inputs = false;
  bool is_embedding = false;  ///< LoRA on a table of embeddings [in, out]: A is [rank, in], B [out, rank]
};

/// An adapter as a folder holds it.
struct Adapter {
  Json config;                                   ///< adapter_config.json as read
  std::map<std::string, AdapterModule> modules;  ///< by the module's name, such as "model.layers.0.self_attn.q_proj"
  /// Parameters that stand in place of the model's own: trained biases, modules_to_save, resized embeddings.
  std::map<std::string, at::Tensor> replacements;

  /// Tells whether matrices lie inputs first in the model's checkpoint (GPT-2's Conv1D).
  bool inputs_first() const;
};

/// Reads an adapter's folder (adapter_model.safetensors or adapter_model.bin). Throws Error(unsupported) for other kinds
/// than LoRA and IA3 and for options that change what these compute, Error(corrupt) naming a tensor that is missing,
/// misshapen or unknown.
Adapter load_adapter(const std::filesystem::path& directory);

/// Writes a folder that PEFT loads; `adapter.config` is written as it is.
void save_adapter(const Adapter& adapter, const std::filesystem::path& directory);

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

/// Returns DoRA's factors [out]: `magnitude` over the lengths of the rows of W + scale · B · A, `weight` [out, in].
at::Tensor dora_factors(const AdapterModule& module, const at::Tensor& weight);

}  // namespace mobula::nn
