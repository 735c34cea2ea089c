/// A described decoder with its weights, as the decode loop takes it.
#pragma once

#include <string>

#include "mobula/models/decoder/config.hpp"
#include "mobula/models/decoder/weights.hpp"
#include "mobula/nn/array.hpp"
#include "mobula/nn/decoder/spec.hpp"

namespace mobula::models {

/// Returns what embeddings of that type are multiplied by.
double embedding_scale(const DecoderConfig& config, at::ScalarType type);

/// Returns the decoder over the memory of the weights, where their layout allows.
nn::DecoderModel make_decoder_model(const DecoderConfig& config, const DecoderWeights<nn::Array>& weights);

/// Returns the decoder whose parameters `source` gives as arrays, by their names in checkpoints: nn::CheckpointParameters, or
/// nn::ParameterArrays of a module.
template <class Source>
nn::DecoderModel read_decoder_model(const DecoderConfig& config, Source& source) {
  const auto keep = [](const std::string&, nn::Array value) { return value; };
  return make_decoder_model(config, make_decoder_weights<nn::Array>(config, source, keep));
}

}  // namespace mobula::models
