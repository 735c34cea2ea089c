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
  std::optional<std::string> text;  ///< absent where ids were given; of a conversation, what the template made of it
  bool is_chat = false;             ///< a conversation to answer, no text to continue
  std::vector<nn::TokenId> ids;
  nn::SamplingOptions sampling;
  std::vector<std::string> stop;
  std::string adapter;  ///< empty: none
};

/// Returns what --ids, --prompt, --messages or the lines of --input ask for. A line is a JSON object with "prompt", "ids" or
/// "messages"; members named as the options are (with _ for -) count for it alone, others are left alone. `tokenizer` may be
/// null; `info`: of the engine. Throws Error naming the line.
std::vector<Prompt> read_prompts(const GenerateOptions& options, const nn::SamplingDefaults& defaults,
                                 const text::Tokenizer* tokenizer, const nn::EngineInfo& info);

/// Returns the sampling that the options ask for, and `defaults` where they don't. Throws Error(invalid_argument) naming what is
/// out of range.
nn::SamplingOptions sampling_of(const GenerateOptions& options, const nn::SamplingDefaults& defaults);

}  // namespace mobula::cli
