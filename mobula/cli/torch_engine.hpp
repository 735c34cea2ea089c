/// Generation engines on libtorch, out of the plugin that links it: T5, and models that the decoder's kernels don't run.
#pragma once

#include <memory>
#include <string>

#include "mobula/nn/generate/batch_engine.hpp"
#include "mobula/nn/generate/engine.hpp"

namespace mobula::cli {

/// What crosses to the plugin and back.
struct TorchEngineRequest {
  std::string model, dtype;
  nn::EngineOptions options;
  std::unique_ptr<nn::GenerationEngine>* engine = nullptr;  ///< where the answer goes
};

/// Loads a model as libtorch's tensors and makes an engine of it; `dtype` is fp32, bf16 or empty. Throws Error(unavailable) where
/// this build has no such plugin, and what loading throws.
std::unique_ptr<nn::GenerationEngine> load_torch_engine(std::string model, std::string dtype,
                                                        nn::EngineOptions options);

}  // namespace mobula::cli
