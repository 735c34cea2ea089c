/// The files of a checkpoint folder that every kind of model has.
#pragma once

#include <filesystem>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/module.hpp"

namespace mobula::models {

/// Writes model.safetensors and, after it, `config` with the parameters' type as config.json. The folder is made where it
/// is missing; each file is whole or absent.
void write_model_folder(Json config, const std::vector<nn::NamedTensor>& parameters,
                        const std::filesystem::path& directory);

}  // namespace mobula::models
