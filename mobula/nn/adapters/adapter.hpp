/// Adapters: small additions to some of a model's matrices, in the file format of Hugging Face's PEFT
/// (adapter_config.json, adapter_model.safetensors).
///
/// LoRA (Hu et al. 2021): W + scale · B · A, where scale is alpha / rank, or alpha / sqrt(rank) with rsLoRA (Kalajdzievski
/// 2023). DoRA (Liu et al. 2024): the rows of that, scaled to given lengths. IA3 (Liu et al. 2022): rows or columns of W
/// times given factors.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::nn {

/// What an adapter does to one matrix; undefined arrays: nothing of that kind.
struct AdapterModule {
  Array a, b;          ///< LoRA: [rank, in] and [out, rank]
  double scale = 1.0;  ///< of B · A
  Array magnitude;     ///< DoRA: [out]
  Array factor;        ///< IA3: [out], or [in] where `scales_inputs`
  bool scales_inputs = false;
  bool is_embedding = false;  ///< LoRA on a table of embeddings [in, out]: A is [rank, in], B [out, rank]
};

/// An adapter as a folder holds it.
struct Adapter {
  Json config;                                   ///< adapter_config.json as read
  std::map<std::string, AdapterModule> modules;  ///< by the module's name, such as "model.layers.0.self_attn.q_proj"
  /// Parameters that stand in place of the model's own: trained biases, modules_to_save, resized embeddings.
  std::map<std::string, Array> replacements;

  /// Tells whether matrices lie inputs first in the model's checkpoint (GPT-2's Conv1D).
  bool inputs_first() const;
};

/// Reads an adapter's folder (adapter_model.safetensors or adapter_model.bin). Throws Error(unsupported) for other kinds
/// than LoRA and IA3 and for options that change what these compute, Error(corrupt) naming a tensor that is missing,
/// misshapen or unknown.
Adapter load_adapter(const std::filesystem::path& directory);

/// Returns DoRA's factors [out]: `magnitude` over the lengths of the rows of W + scale · B · A, `weight` [out, in].
Array dora_factors(const AdapterModule& module, const Array& weight);

}  // namespace mobula::nn
