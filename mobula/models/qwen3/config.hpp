/// Qwen 3 (Yang et al. 2025) as a decoder's description: Llama with normalised queries and keys.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type qwen3; absent keys take the defaults of transformers' Qwen3Config. Throws Error naming
/// the key that is wrong.
DecoderConfig read_qwen3_config(const Json& json);

}  // namespace mobula::models
