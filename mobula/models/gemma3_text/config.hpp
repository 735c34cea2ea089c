/// Gemma 3, text only (Gemma team 2025), as a decoder's description: five windowed layers for each full one.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type gemma3_text; absent keys take the defaults of transformers' Gemma3TextConfig. Throws Error naming
/// the key that is wrong.
DecoderConfig read_gemma3_text_config(const Json& json);

}  // namespace mobula::models
