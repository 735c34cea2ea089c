/// Mixtral (Jiang et al. 2024) as a decoder's description: Mistral with experts.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type mixtral; absent keys take the defaults of transformers' MixtralConfig. Throws Error naming
/// the key that is wrong.
DecoderConfig read_mixtral_config(const Json& json);

}  // namespace mobula::models
