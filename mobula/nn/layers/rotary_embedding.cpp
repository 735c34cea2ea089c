#include "mobula/nn/layers/rotary_embedding.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/div.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/reciprocal.h>
#include <ATen/ops/rsub.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "mobula/base/error.hpp"

namespace mobula::nn {
namespace {

// Returns 2i / dim.
at::Tensor exponents(std::int64_t dim) {
  return at::div(at::arange(0, dim, 2, at::TensorOptions().dtype(at::kFloat)), dim);
}

at::Tensor dynamic_frequencies(const RotaryOptions& o, std::int64_t length) {
  if (length <= o.max_positions) return at::reciprocal(at::pow(at::Scalar(o.theta), exponents(o.dim)));
  const double dim = static_cast<double>(o.dim);
  // A scalar tensor in fp32, not a double: the reference rounds here.
  const at::Tensor stretch =
      at::sub(at::div(at::mul(at::scalar_tensor(length, at::kLong), o.factor), o.max_positions), o.factor - 1.0);
  const at::Tensor theta = at::mul(at::pow(stretch, dim / (dim - 2.0)), o.theta);
  return at::reciprocal(at::pow(theta, exponents(o.dim)));
}

at::Tensor llama3_frequencies(const RotaryOptions& o) {
  const at::Tensor plain_R = at::reciprocal(at::pow(at::Scalar(o.theta), exponents(o.dim)));
  const double original = static_cast<double>(o.original_positions);
  const double longest = original / o.low_frequency_factor;
  const double shortest = original / o.high_frequency_factor;
  const at::Tensor wavelength_R = at::mul(at::reciprocal(plain_R), 2.0 * std::numbers::pi);
  const at::Tensor scaled_R = at::where(wavelength_R.gt(longest), at::div(plain_R, o.factor), plain_R);
  const at::Tensor smooth_R = at::div(at::sub(at::mul(at::reciprocal(wavelength_R), original), o.low_frequency_factor),
                                      o.high_frequency_factor - o.low_frequency_factor);
  const at::Tensor mixed_R =
      at::add(at::div(at::mul(at::rsub(smooth_R, 1.0), scaled_R), o.factor), at::mul(smooth_R, scaled_R));
  const at::Tensor between_R = wavelength_R.ge(shortest).logical_and(wavelength_R.le(longest));
  return at::where(between_R, mixed_R, scaled_R);
}

at::Tensor yarn_frequencies(const RotaryOptions& o) {
  const double dim = static_cast<double>(o.dim);
  const auto dimension_of = [&](double num_rotations) {
    return dim * std::log(static_cast<double>(o.original_positions) / (num_rotations * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(o.theta));
  };
  double low = dimension_of(o.beta_fast), high = dimension_of(o.beta_slow);
  if (o.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;
  const at::Tensor steps_R = at::arange(o.dim / 2, at::TensorOptions().dtype(at::kFloat));
  const at::Tensor keep_R = at::rsub(at::clamp(at::div(at::sub(steps_R, low), high - low), 0, 1), 1.0);
  const at::Tensor powers_R = at::pow(at::Scalar(o.theta), exponents(o.dim));
  const at::Tensor original_R = at::reciprocal(powers_R);
  const at::Tensor stretched_R = at::reciprocal(at::mul(powers_R, o.factor));
  return at::add(at::mul(stretched_R, at::rsub(keep_R, 1.0)), at::mul(original_R, keep_R));
}

at::Tensor longrope_frequencies(const RotaryOptions& o, std::int64_t length) {
  const at::Tensor divisors_R = at::tensor(length > o.original_positions ? o.long_divisors : o.short_divisors);
  return at::reciprocal(at::mul(divisors_R, at::pow(at::Scalar(o.theta), exponents(o.dim))));
}

}  // namespace

RotaryEmbedding::RotaryEmbedding(RotaryOptions options) : options_(std::move(options)) {
  const RotaryOptions& o = options_;
  if (o.dim < 2 || o.dim % 2 != 0) {
    throw_invalid(fmt::format("rotary embedding: {} dimensions can't be paired, expected an even number", o.dim));
  }
  if (o.scaling == RotaryScaling::dynamic && o.dim == 2) {
    throw_invalid("rotary embedding: dynamic scaling needs more than 2 dimensions");
  }
  const auto num_pairs = static_cast<std::size_t>(o.dim / 2);
  if (o.scaling == RotaryScaling::longrope &&
      (o.short_divisors.size() != num_pairs || o.long_divisors.size() != num_pairs)) {
    throw_invalid(fmt::format("rotary embedding: longrope has {} short and {} long factors, expected {} of each",
                              o.short_divisors.size(), o.long_divisors.size(), num_pairs));
  }
}

at::Tensor RotaryEmbedding::frequencies(std::int64_t length) const {
  switch (options_.scaling) {
    case RotaryScaling::none:
      return at::reciprocal(at::pow(at::Scalar(options_.theta), exponents(options_.dim)));
    case RotaryScaling::linear:
      return at::div(at::reciprocal(at::pow(at::Scalar(options_.theta), exponents(options_.dim))), options_.factor);
    case RotaryScaling::dynamic:
      return dynamic_frequencies(options_, length);
    case RotaryScaling::llama3:
      return llama3_frequencies(options_);
    case RotaryScaling::yarn:
      return yarn_frequencies(options_);
    case RotaryScaling::longrope:
      return longrope_frequencies(options_, length);
  }
  throw_internal("rotary embedding: unknown scaling");
}

std::int64_t RotaryEmbedding::shortest_alike(std::int64_t length) const noexcept {
  if (options_.scaling == RotaryScaling::dynamic && length > options_.max_positions) return length;
  if (options_.scaling == RotaryScaling::longrope && length > options_.original_positions) {
    return options_.original_positions + 1;
  }
  return 1;
}

RotaryTable RotaryEmbedding::table(const at::Tensor& positions, std::int64_t length) const {
  const at::Tensor angles = at::mul(positions.to(at::kFloat).unsqueeze(-1), frequencies(length));
  if (options_.magnitude == 1.0) return {angles.cos(), angles.sin()};
  return {at::mul(angles.cos(), options_.magnitude), at::mul(angles.sin(), options_.magnitude)};
}

at::Tensor RotaryEmbedding::turn(const at::Tensor& x_BTHD, const RotaryTable& table) const {
  // [T, R] and [B, T, R] both broadcast over the heads.
  const at::Tensor cosine = table.cosine.unsqueeze(-2);
  const at::Tensor sine = table.sine.unsqueeze(-2);
  const std::int64_t width = x_BTHD.size(-1);
  const std::int64_t half = options_.dim / 2;
  const at::Tensor turning = x_BTHD.narrow(-1, 0, options_.dim).to(at::kFloat);
  at::Tensor turned;
  if (options_.interleaved) {
    const at::Tensor pairs = turning.unflatten(-1, at::IntArrayRef({half, 2}));
    const at::Tensor even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
    turned = at::stack({at::sub(at::mul(even, cosine), at::mul(odd, sine)),
                        at::add(at::mul(odd, cosine), at::mul(even, sine))},
                       -1)
                 .flatten(-2);
  } else {
    const at::Tensor first = turning.narrow(-1, 0, half), second = turning.narrow(-1, half, half);
    turned = at::cat({at::sub(at::mul(first, cosine), at::mul(second, sine)),
                      at::add(at::mul(second, cosine), at::mul(first, sine))},
                     -1);
  }
  turned = turned.to(x_BTHD.scalar_type());
  if (width == options_.dim) return turned;
  return at::cat({turned, x_BTHD.narrow(-1, options_.dim, width - options_.dim)}, -1);
}

}  // namespace mobula::nn
