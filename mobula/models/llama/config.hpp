/// Llama 2 and 3 (Touvron et al. 2023; Llama team 2024) as a decoder's description.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type llama; absent keys take the defaults of transformers' LlamaConfig. Throws Error naming
/// the key that is wrong.
DecoderConfig read_llama_config(const Json& json);

}  // namespace mobula::models
