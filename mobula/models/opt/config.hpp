/// OPT (Zhang et al. 2022) as a decoder's description: learned positions, ReLU.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type opt; absent keys take the defaults of transformers' OPTConfig. Throws Error naming
/// the key that is wrong.
DecoderConfig read_opt_config(const Json& json);

}  // namespace mobula::models
