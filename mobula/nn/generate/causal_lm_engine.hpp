/// A generation engine out of a model of libtorch's tensors.
#pragma once

#include <memory>

#include "mobula/nn/causal_lm.hpp"
#include "mobula/nn/generate/batch_engine.hpp"

namespace mobula::nn {

/// Makes an engine that runs `model` on as many threads as libtorch has. The engine keeps the parameters alive; they must not
/// change while it runs. A model that the decoder's kernels don't run reads the whole text for every token, and a warning says
/// so. Beside that as make_generation_engine(EngineInfo, DecoderModel).
std::unique_ptr<GenerationEngine> make_generation_engine(std::shared_ptr<CausalLm> model, EngineOptions options = {});

}  // namespace mobula::nn
