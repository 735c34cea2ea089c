/// Qwen 3 MoE (Yang et al. 2025) as a decoder's description: Qwen 3 with experts.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type qwen3_moe; absent keys take the defaults of transformers' Qwen3MoeConfig. Throws Error naming
/// the key that is wrong.
DecoderConfig read_qwen3_moe_config(const Json& json);

}  // namespace mobula::models
