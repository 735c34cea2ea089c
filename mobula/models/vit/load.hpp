/// The Vision Transformer to and from checkpoint folders.
#pragma once

#include <filesystem>
#include <memory>

#include "mobula/models/registry.hpp"
#include "mobula/models/vit/model.hpp"

namespace mobula::models {

/// Loads a checkpoint folder of model_type vit. With parameters in bfloat16 it computes in Precision::bf16. Throws Error
/// naming file and tensor or key.
std::unique_ptr<Vit> load_vit(const std::filesystem::path& directory, const LoadOptions& options = {});

/// Writes config.json and model.safetensors, which transformers loads.
void save_vit(const Vit& model, const std::filesystem::path& directory);

}  // namespace mobula::models
