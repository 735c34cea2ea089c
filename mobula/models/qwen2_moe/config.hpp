/// Qwen 1.5 and 2 MoE (Yang et al. 2024) as a decoder's description: many small experts beside a shared one.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type qwen2_moe; absent keys take the defaults of transformers' Qwen2MoeConfig. Throws Error naming
/// the key that is wrong.
DecoderConfig read_qwen2_moe_config(const Json& json);

}  // namespace mobula::models
