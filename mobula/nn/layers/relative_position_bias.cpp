#include "mobula/nn/layers/relative_position_bias.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp_max.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/div.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/where.h>

#include <cmath>

namespace mobula::nn {

at::Tensor relative_position_bias(const at::Tensor& biases_NH, std::int64_t num_queries, std::int64_t num_keys,
                                  const RelativePositionOptions& options) {
  const auto longs = at::TensorOptions().dtype(at::kLong);
  const at::Tensor queries_T = at::arange(options.first_query, options.first_query + num_queries, longs);
  const at::Tensor ahead_TS = at::sub(at::arange(num_keys, longs), queries_T.unsqueeze(1));
  std::int64_t num_buckets = biases_NH.size(0);
  at::Tensor first_TS = at::mul(ahead_TS, 0);
  at::Tensor distance_TS;
  if (options.bidirectional) {
    num_buckets /= 2;
    first_TS = at::mul(ahead_TS.gt(0).to(at::kLong), num_buckets);
    distance_TS = ahead_TS.abs();
  } else {
    distance_TS = at::clamp_min(ahead_TS.neg(), 0);
  }
  const std::int64_t num_exact = num_buckets / 2;
  const double spread = std::log(static_cast<double>(options.max_distance) / static_cast<double>(num_exact));
  const at::Tensor logs_TS = at::div(at::div(distance_TS.to(at::kFloat), num_exact).log(), spread);
  // Distance 0 has no logarithm; its bucket is exact, so whatever stands here is not used.
  const at::Tensor far_TS = at::clamp_max(
      at::add(at::mul(at::clamp_min(logs_TS, 0), num_buckets - num_exact).to(at::kLong), num_exact), num_buckets - 1);
  const at::Tensor buckets_TS = at::add(first_TS, at::where(distance_TS.lt(num_exact), distance_TS, far_TS));
  return at::embedding(biases_NH, buckets_TS).permute({2, 0, 1}).unsqueeze(0).to(at::kFloat);
}

}  // namespace mobula::nn
