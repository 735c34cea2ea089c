/// BERT (Devlin et al. 2018) and its descendants of the same shape, such as MiniLM, as an encoder's description.
#pragma once

#include <string>
#include <vector>

#include "mobula/models/encoder/config.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::models {

/// Reads the config.json of model_type bert; absent keys take the defaults of transformers' BertConfig.
EncoderConfig read_bert_config(const Json& json);

/// Returns where else BERT's parameters lie: below "bert." where the encoder stands alone, and under the names gamma and
/// beta that the first checkpoints gave norms.
std::vector<nn::StoredPart> find_bert_parts(const std::string& name);

}  // namespace mobula::models
