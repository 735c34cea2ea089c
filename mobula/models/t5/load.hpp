/// T5 to and from checkpoint folders.
#pragma once

#include <filesystem>
#include <memory>

#include "mobula/models/registry.hpp"
#include "mobula/models/t5/model.hpp"
#include "mobula/nn/adapters/adapter.hpp"

namespace mobula::models {

/// Loads a checkpoint folder of model_type t5. With parameters in bfloat16 it computes in Precision::bf16.
/// generation_config.json's eos_token_id and decoder_start_token_id count where there is one. An `adapter` is merged into
/// the matrices that it changes; the others stay mapped, shared by all models of the folder. Throws Error naming file and
/// tensor or key, or what an adapter changes and the model lacks.
std::unique_ptr<T5> load_t5(const std::filesystem::path& directory, const LoadOptions& options = {},
                            const nn::Adapter* adapter = nullptr);

/// Writes config.json and model.safetensors, which transformers loads.
void save_t5(const T5& model, const std::filesystem::path& directory);

}  // namespace mobula::models
