/// GPT-J (Wang & Komatsuzaki 2021) as a decoder's description: parallel residual, interleaved rotary embedding.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type gptj; absent keys take the defaults of transformers' GPTJConfig. Throws Error naming
/// the key that is wrong.
DecoderConfig read_gptj_config(const Json& json);

}  // namespace mobula::models
