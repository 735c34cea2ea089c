/// Qwen 2 and 2.5 (Yang et al. 2024) as a decoder's description: Llama with biased queries, keys and values.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type qwen2; absent keys take the defaults of transformers' Qwen2Config. Throws Error naming
/// the key that is wrong.
DecoderConfig read_qwen2_config(const Json& json);

}  // namespace mobula::models
