/// A described decoder with its weights, as the decode loop takes it.
#pragma once

#include "mobula/models/decoder/config.hpp"
#include "mobula/models/decoder/weights.hpp"
#include "mobula/nn/array.hpp"
#include "mobula/nn/decoder/spec.hpp"

namespace mobula::models {

/// Returns what embeddings of that type are multiplied by.
double embedding_scale(const DecoderConfig& config, at::ScalarType type);

/// Returns the decoder over the memory of the weights, where their layout allows.
nn::DecoderModel make_decoder_model(const DecoderConfig& config, const DecoderWeights<nn::Array>& weights);

}  // namespace mobula::models
