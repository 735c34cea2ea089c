/// Phi-3 (Abdin et al. 2024) as a decoder's description: Llama with fused matrices and LongRoPE.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type phi3; absent keys take the defaults of transformers' Phi3Config. Throws Error naming
/// the key that is wrong.
DecoderConfig read_phi3_config(const Json& json);

}  // namespace mobula::models
