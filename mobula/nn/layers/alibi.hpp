/// Linear biases of attention in place of position embeddings.
#pragma once

#include <cstdint>
#include <vector>

namespace mobula::nn {

/// Returns the slopes [H] of attention with linear biases.
std::vector<float> alibi_slopes(std::int64_t num_heads);

}  // namespace mobula::nn
