/// The prompts of `mobula generate`, each with its own options.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mobula/cli/generate.hpp"
#include "mobula/nn/generate/engine.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {

struct Prompt {
  std::optional<std::string> text;  ///< absent where ids were given
  std::vector<nn::TokenId> ids;
  nn::SamplingOptions sampling;
  std::vector<std::string> stop;
  std::string adapter;  ///< empty: none
};

/// Returns what --ids, --prompt or the lines of --input ask for. A line is a JSON object with "prompt" or "ids"; members named as
/// the options are (with _ for -) count for it alone, others are left alone. `tokenizer` may be null; `adapters`: the names
/// that lines may give. Throws Error naming the line.
std::vector<Prompt> read_prompts(const GenerateOptions& options, const nn::SamplingDefaults& defaults,
                                 const text::Tokenizer* tokenizer, const std::vector<std::string>& adapters);

/// Returns the sampling that the options ask for, and `defaults` where they don't. Throws Error(invalid_argument) naming what is
/// out of range.
nn::SamplingOptions sampling_of(const GenerateOptions& options, const nn::SamplingDefaults& defaults);

}  // namespace mobula::cli
