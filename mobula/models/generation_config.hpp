/// generation_config.json: how a checkpoint's makers would have it generate.
#pragma once

#include <filesystem>

#include "mobula/base/json.hpp"
#include "mobula/nn/generate/engine.hpp"

namespace mobula::models {

/// Returns the content of generation_config.json in `folder`, an empty object where there is none. Throws Error naming the file.
Json load_generation_config(const std::filesystem::path& folder);

/// Returns what the file at `path` says of sampling: temperature, top_k, top_p, min_p, typical_p, repetition_penalty,
/// no_repeat_ngram_size and max_new_tokens; `"do_sample": false` is temperature 0. Other keys are left alone, as vLLM does:
/// they are about other ways to generate. Throws Error naming the file and the key.
nn::SamplingDefaults read_sampling_defaults(const std::filesystem::path& path);

}  // namespace mobula::models
