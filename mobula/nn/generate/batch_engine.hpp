/// The generation engine of this process: requests of all lengths share the steps of one model.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mobula/nn/adapters/adapter.hpp"
#include "mobula/nn/decoder/cpu_kernels.hpp"
#include "mobula/nn/decoder/decoder.hpp"
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
  int num_threads = 0;                             ///< that compute; 0: default_num_threads()

  /// Throws Error(invalid_argument) naming the field that is out of range.
  void validate() const;
};

/// Makes an engine that runs `model` on this machine's processors. The engine keeps the model's arrays alive; they must not
/// change while it runs. A request's tokens and log-probabilities are the same bits alone, beside others, and with the
/// prefix cache on or off. `info` says what the model is; its adapters are those of the options. Throws Error(unsupported)
/// for a model that the decoder's kernels don't run.
std::unique_ptr<GenerationEngine> make_generation_engine(EngineInfo info, DecoderModel model,
                                                         const EngineOptions& options = {});

/// Does what Decoder::forward() does, for models that it doesn't run; reads DecoderRow::text.
using ForwardRows = std::function<std::span<const float>(std::span<const DecoderRow>)>;

/// Makes an engine of a model that keeps nothing between steps: no cache, no adapters, no rounding.
std::unique_ptr<GenerationEngine> make_generation_engine(EngineInfo info, ForwardRows forward,
                                                         const EngineOptions& options = {});

}  // namespace mobula::nn
