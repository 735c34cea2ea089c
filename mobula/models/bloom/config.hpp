/// BLOOM (BigScience 2022) as a decoder's description: attention with linear biases, normalised embeddings.
#pragma once

#include "mobula/models/decoder/config.hpp"

namespace mobula::models {

/// Reads the config.json of model_type bloom; absent keys take the defaults of transformers' BloomConfig. Throws Error naming
/// the key that is wrong.
DecoderConfig read_bloom_config(const Json& json);

}  // namespace mobula::models
