/// What Gemma 2 and 3 have in common.
#pragma once

#include "mobula/models/completed_config.hpp"
#include "mobula/models/decoder/read_config.hpp"

namespace mobula::models {

/// Reads a Gemma configuration but for rotary settings and soft caps: norms around each half of a layer whose weights
/// count from 1, scaled embeddings, query_pre_attn_scalar, and windows in the layers that `slides` names where
/// layer_types doesn't.
DecoderConfig read_gemma_config(CompletedConfig& completed, const DecoderDefaults& defaults,
                                bool (*slides)(const CompletedConfig& json, std::int64_t layer));

}  // namespace mobula::models
