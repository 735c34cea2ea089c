/// Mistral (Jiang et al. 2023) as a decoder's description: Llama with sliding-window attention.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type mistral; absent keys take the defaults of transformers' MistralConfig. Throws Error naming
/// the key that is wrong.
DecoderConfig read_mistral_config(const Json& json);

}  // namespace mobula::models
