/// Checkpoints of causal language models, opened without libtorch.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/models/decoder/config.hpp"
#include "mobula/models/decoder/families.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/decoder/spec.hpp"
#include "mobula/nn/generate/engine.hpp"

namespace mobula::models {

/// A checkpoint folder, or a file NAME.gguf, of which nothing but headers was read.
struct DecoderCheckpoint {
  Json config;  ///< config.json, with the end-of-text ids of generation_config.json where it has any
  const DecoderFamily* family;
  nn::CheckpointTensors tensors;
  std::optional<at::ScalarType>
      type;  ///< of the parameters where the file's own can't stay: GGUF's blocks become bfloat16

  /// Returns a look-up of parameters by the family's names; keeps a reference to `tensors`.
  nn::CheckpointParameters parameters(std::optional<at::ScalarType> as, bool keep_quantized) const;
  /// Throws Error(corrupt) naming a tensor that no parameter of the model is; `source` is the model's whole config.json.
  void check_all_used(const nn::CheckpointParameters& parameters, const Json& source) const;
};

/// Opens it and calls `use`, whose errors name the file. Throws Error naming file and tensor or key: an unknown model_type,
/// a missing shard, a damaged header.
void with_decoder_checkpoint(const std::filesystem::path& path,
                             const std::function<void(const DecoderCheckpoint& checkpoint)>& use);

/// A model for make_generation_engine().
struct LoadedDecoder {
  nn::EngineInfo info;
  nn::DecoderModel model;
};

/// Loads a causal language model from a checkpoint folder or a file NAME.gguf, its parameters in `type` or as they are; they
/// lie over the mapped file where they stay as they are. Throws what with_decoder_checkpoint() throws, and Error naming the
/// tensor that is missing, extra or misshapen.
LoadedDecoder load_decoder(const std::filesystem::path& path, std::optional<at::ScalarType> type = std::nullopt);

}  // namespace mobula::models
