/// A decoder's parameters, asked for by the names that checkpoints give them.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mobula/models/decoder/config.hpp"
#include "mobula/nn/parameter_source.hpp"
#include "mobula/nn/quantized_matrix.hpp"

namespace mobula::models {

/// A weight with its bias: of a projection (outputs first) or of a norm. The bias is undefined where there is none.
struct Affine {
  at::Tensor weight, bias;
  std::string name = {};  ///< of a projection: its module's in checkpoints
  /// Stands in for `weight`, which is then undefined: a checkpoint's matrix of few bits, which isn't trained.
  std::shared_ptr<const nn::QuantizedMatrix> quantized = nullptr;

  /// Returns the weight, computed anew at each call where it is quantized.
  at::Tensor matrix() const { return quantized ? quantized->dequantize() : weight; }
};

struct ExpertWeights {
  Affine gate, up, down;
};

struct DecoderLayerWeights {
  Affine norm_1, norm_2, after_attention_norm, after_mlp_norm;
  Affine qkv;  // where one matrix holds all three
  Affine query, key, value, attention_out;
  Affine query_norm, key_norm;
  Affine gate, up, down;  // of the MLP, or of the expert that all tokens share
  at::Tensor router, shared_gate;
  std::vector<ExpertWeights> experts;
};

struct DecoderWeights {
  at::Tensor embedding, positions, project_in, project_out;
  Affine embedding_norm, final_norm, head;
  std::vector<DecoderLayerWeights> layers;
};

/// Registers a parameter under its name and returns it.
using AddParameter = std::function<at::Tensor(std::string name, at::Tensor value)>;

/// Builds all parameters in the order of the forward pass.
DecoderWeights make_decoder_weights(const DecoderConfig& config, nn::ParameterSource& source, const AddParameter& add);

}  // namespace mobula::models
