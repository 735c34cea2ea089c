/// RoBERTa (Liu et al. 2019) as an encoder's description.
#pragma once

#include <string>
#include <vector>

#include "mobula/models/encoder/config.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::models {

/// Reads the config.json of model_type roberta; absent keys take the defaults of transformers' RobertaConfig.
EncoderConfig read_roberta_config(const Json& json);

/// Returns where else RoBERTa's parameters lie: below "roberta." where the encoder stands alone.
std::vector<nn::StoredPart> find_roberta_parts(const std::string& name);

}  // namespace mobula::models
