/// config.json's quantization_config: which project's format a checkpoint's matrices have.
#pragma once

#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/quantized_matrix.hpp"

namespace mobula::models {

/// Throws Error(unsupported), naming key and value, where config.json says that matrices are quantized in a way that isn't
/// read here: other methods than compressed-tensors' weight-only integers and bitsandbytes' NF4.
void check_quantization(const Json& config);

/// Returns what config.json says of matrices that quantize_matrix() made. `type` is the model's in config.json's spelling
/// ("bfloat16"); `whole` names the modules that stay as they are, `eight` one that is int8 whatever `format` says (empty: none).
Json quantization_config(nn::QuantizedFormat format, const std::string& type, const std::vector<std::string>& whole,
                         const std::string& eight = {});

}  // namespace mobula::models
