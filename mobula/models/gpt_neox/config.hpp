/// GPT-NeoX and Pythia (Black et al. 2022) as a decoder's description: parallel residual, rotary embedding in part.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type gpt_neox; absent keys take the defaults of transformers' GPTNeoXConfig. Throws Error naming
/// the key that is wrong.
DecoderConfig read_gpt_neox_config(const Json& json);

}  // namespace mobula::models
