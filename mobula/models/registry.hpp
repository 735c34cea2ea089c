/// Makes models of any known family out of a Hugging Face configuration.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/nn/causal_lm.hpp"

namespace mobula::models {

/// Makes a causal language model with fresh parameters for `config` (the content of a config.json; absent
/// keys take transformers' defaults). Throws Error(unsupported) for an unknown model_type,
/// Error(invalid_argument) naming a bad key.
std::unique_ptr<nn::CausalLm> make_causal_lm(const Json& config, std::uint64_t seed);

/// Returns the model_type values that make_causal_lm knows, sorted.
std::vector<std::string> causal_lm_families();

}  // namespace mobula::models
