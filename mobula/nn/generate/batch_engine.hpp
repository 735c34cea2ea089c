/// The generation engine of this process: requests of all lengths share the steps of one model.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mobula/nn/adapters/adapter.hpp"
#include "mobula/nn/causal_lm.hpp"
#include "mobula/nn/decoder/cpu_kernels.hpp"
#include "mobula/nn/generate/engine.hpp"

namespace mobula::nn {

/// An adapter that requests may ask for by name.
struct EngineAdapter {
  std::string name;
  std::shared_ptr<const Adapter> adapter;
};

struct EngineOptions {
  std::size_t max_batch = 64;         ///< requests that run at once; others wait
  std::size_t max_step_tokens = 512;  ///< tokens read in one step, so that long prompts don't hold up the others
  std::size_t cache_bytes = std::size_t{4} << 30;  ///< for keys and values, those of finished requests included
  std::optional<WeightType> quantize;              ///< int8 or int4: see DecoderOptions
  std::vector<EngineAdapter> adapters;             ///< requests with different ones run in the same steps
  bool prefix_cache = true;                        ///< requests that begin alike share their keys and values

  /// Throws Error(invalid_argument) naming the field that is out of range.
  void validate() const;
};

/// Makes an engine that runs `model` on this machine's processors. The engine keeps the parameters alive; they must not
/// change while it runs. A request's tokens and log-probabilities are the same bits alone, beside others, and with the
/// prefix cache on or off. A model that the decoder's kernels don't run reads the whole text for every token, and a warning
/// says so.
std::unique_ptr<GenerationEngine> make_generation_engine(std::shared_ptr<CausalLm> model,
                                                         const EngineOptions& options = {});

}  // namespace mobula::nn
