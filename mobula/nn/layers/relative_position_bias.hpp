/// Attention biases that depend on the distance between two positions, by bucket (Raffel et al., "T5", 2020).
///
/// Shape suffixes: T queries, S keys, H heads, N buckets.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace mobula::nn {

struct RelativePositionOptions {
  bool bidirectional = true;        ///< half of the buckets are for keys that come later
  std::int64_t max_distance = 128;  ///< from here on all distances share the last bucket
  std::int64_t first_query = 0;     ///< where the first query stands among the keys
};

/// Returns the biases [1, H, T, S] of T queries, from `first_query` on, and keys 0..S-1 out of the table `biases_NH`.
/// Near distances have a bucket each, far ones share buckets that grow with the logarithm of the distance.
/// Differentiable.
at::Tensor relative_position_bias(const at::Tensor& biases_NH, std::int64_t num_queries, std::int64_t num_keys,
                                  const RelativePositionOptions& options);

}  // namespace mobula::nn
