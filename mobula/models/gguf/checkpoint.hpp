/// GGUF files as checkpoints: their metadata as config.json, their tensors under the names and in the layout of Hugging
/// Face's checkpoints.
#pragma once

#include <filesystem>
#include <memory>

#include "mobula/base/json.hpp"
#include "mobula/nn/gguf_file.hpp"
#include "mobula/nn/tensor_file.hpp"

namespace mobula::models {

struct GgufCheckpoint {
  Json config;
  std::shared_ptr<const nn::TensorFile> tensors;
  bool is_quantized = false;  ///< some tensors hold fewer than 16 bits a number
};

/// Reads the architectures llama (without experts), qwen2, qwen3 and gemma2. Throws Error(unsupported) naming another,
/// Error(corrupt) naming the key that is missing or out of range.
GgufCheckpoint read_gguf_checkpoint(std::shared_ptr<const nn::GgufFile> file);

}  // namespace mobula::models
