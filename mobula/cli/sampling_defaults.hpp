/// Where the sampling comes from that a user doesn't ask for.
#pragma once

#include <string>

#include "mobula/nn/generate/engine.hpp"

namespace mobula::cli {

/// Returns the defaults that `generation_config` names for the checkpoint `model`: "auto" is its generation_config.json, if there
/// is one; "none" the plain defaults; else a folder with that file, or a file of that kind. Logs what it changes. Throws
/// Error naming the file and the key.
nn::SamplingDefaults load_sampling_defaults(const std::string& model, const std::string& generation_config);

}  // namespace mobula::cli
