/// Gemma 2 (Gemma team 2024) as a decoder's description: sandwich norms, soft caps, windows in every second layer.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type gemma2; absent keys take the defaults of transformers' Gemma2Config. Throws Error naming
/// the key that is wrong.
DecoderConfig read_gemma2_config(const Json& json);

}  // namespace mobula::models
