/// Writes the safetensors format; safetensors.hpp reads it.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "mobula/nn/module.hpp"

namespace mobula::nn {

/// Writes tensors (any strides, CPU) with their bytes aligned to 64; the file appears under its name when it is complete.
/// Throws Error(io), Error(invalid_argument) for a name that occurs twice.
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace mobula::nn
