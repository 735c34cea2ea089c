/// Text generation with T5: the encoder reads a request's prompt once, the decoder writes the answer with its cache.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "mobula/models/t5/model.hpp"
#include "mobula/nn/generate/engine.hpp"

namespace mobula::models {

/// The model under an adapter, which requests may ask for by name.
struct T5Adapter {
  std::string name;
  std::shared_ptr<T5> model;  ///< as load_t5() merges the adapter
};

struct T5EngineOptions {
  std::size_t max_batch = 16;  ///< requests that run at once; others wait
  /// Tokens of prompt and answer together. T5 itself has no limit; attention's memory grows with the square of it.
  std::size_t max_tokens = 4096;
  std::vector<T5Adapter> adapters;
};

/// Makes an engine that runs `model`, whose parameters must not change while it runs. Answers don't contain their prompts
/// (EngineInfo::continues_prompt is false), penalties and n-grams count the answer's tokens alone, and a request's tokens
/// are the same bits alone and beside others. Requests that ask for the prompt's scores are refused.
std::unique_ptr<nn::GenerationEngine> make_t5_engine(std::shared_ptr<T5> model, const T5EngineOptions& options = {});

}  // namespace mobula::models
