/// The families of causal language models: how their configurations are read, and what their checkpoints look like.
#pragma once

#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/models/decoder/config.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::models {

struct DecoderFamily {
  /// Returns the decoder that a config.json describes. Throws Error(invalid_argument) naming a bad key.
  DecoderConfig (*read)(const Json& config);
  /// What checkpoints of the bare model leave out of parameter names.
  std::string prefix;
  /// Ends of names of tensors that old checkpoints hold and nobody needs.
  std::vector<std::string> ignorable;
  /// Where else parameters may lie; may be null.
  std::vector<nn::StoredPart> (*alternatives)(const std::string& name) = nullptr;
};

/// Returns the family of config.json's model_type. Throws Error(unsupported) for an unknown one.
const DecoderFamily& find_decoder_family(const Json& config);

/// Returns the model_type values that find_decoder_family() knows, sorted.
std::vector<std::string> causal_lm_families();

}  // namespace mobula::models
