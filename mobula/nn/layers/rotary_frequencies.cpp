#include "mobula/nn/layers/rotary_frequencies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "mobula/base/error.hpp"

namespace mobula::nn {
namespace {

// Returns theta^(2i / dim).
std::vector<float> powers(float theta, std::int64_t dim) {
  std::vector<float> result(static_cast<std::size_t>(dim / 2));
  for (std::size_t i = 0; i < result.size(); ++i) {
    result[i] = std::pow(theta, static_cast<float>(2 * i) / static_cast<float>(dim));
  }
  return result;
}

std::vector<float> reciprocals(std::vector<float> numbers) {
  for (float& number : numbers) number = 1.0f / number;
  return numbers;
}

std::vector<float> plain_frequencies(const RotaryOptions& o) {
  return reciprocals(powers(static_cast<float>(o.theta), o.dim));
}

std::vector<float> dynamic_frequencies(const RotaryOptions& o, std::int64_t length) {
  if (length <= o.max_positions) return plain_frequencies(o);
  const auto dim = static_cast<double>(o.dim);
  // In fp32, not in double: the reference rounds here.
  const float stretch =
      static_cast<float>(length) * static_cast<float>(o.factor) / static_cast<float>(o.max_positions) -
      static_cast<float>(o.factor - 1.0);
  const float theta = std::pow(stretch, static_cast<float>(dim / (dim - 2.0))) * static_cast<float>(o.theta);
  return reciprocals(powers(theta, o.dim));
}

std::vector<float> llama3_frequencies(const RotaryOptions& o) {
  constexpr auto kTurn = static_cast<float>(2.0 * std::numbers::pi);
  const auto original = static_cast<float>(o.original_positions), factor = static_cast<float>(o.factor);
  const double low = o.low_frequency_factor, high = o.high_frequency_factor;
  const auto longest = static_cast<float>(static_cast<double>(o.original_positions) / low);
  const auto shortest = static_cast<float>(static_cast<double>(o.original_positions) / high);
  std::vector<float> result = plain_frequencies(o);
  for (float& frequency : result) {
    const float wavelength = (1.0f / frequency) * kTurn;
    const float scaled = wavelength > longest ? frequency / factor : frequency;
    if (wavelength >= shortest && wavelength <= longest) {
      const float smooth = ((1.0f / wavelength) * original - static_cast<float>(low)) / static_cast<float>(high - low);
      frequency = (1.0f - smooth) * scaled / factor + smooth * scaled;
    } else {
      frequency = scaled;
    }
  }
  return result;
}

std::vector<float> yarn_frequencies(const RotaryOptions& o) {
  const auto dim = static_cast<double>(o.dim);
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
  std::vector<float> result = powers(static_cast<float>(o.theta), o.dim);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const float step = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float keep = 1.0f - std::clamp(step, 0.0f, 1.0f);
    const float stretched = 1.0f / (result[i] * static_cast<float>(o.factor));
    result[i] = stretched * (1.0f - keep) + 1.0f / result[i] * keep;
  }
  return result;
}

std::vector<float> longrope_frequencies(const RotaryOptions& o, std::int64_t length) {
  const std::vector<float>& divisors = length > o.original_positions ? o.long_divisors : o.short_divisors;
  std::vector<float> result = powers(static_cast<float>(o.theta), o.dim);
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = 1.0f / (divisors[i] * result[i]);
  return result;
}

}  // namespace

void check_rotary(const RotaryOptions& o) {
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

std::vector<float> rotary_frequencies(const RotaryOptions& options, std::int64_t length) {
  switch (options.scaling) {
    case RotaryScaling::none:
      return plain_frequencies(options);
    case RotaryScaling::linear: {
      std::vector<float> result = plain_frequencies(options);
      for (float& frequency : result) frequency /= static_cast<float>(options.factor);
      return result;
    }
    case RotaryScaling::dynamic:
      return dynamic_frequencies(options, length);
    case RotaryScaling::llama3:
      return llama3_frequencies(options);
    case RotaryScaling::yarn:
      return yarn_frequencies(options);
    case RotaryScaling::longrope:
      return longrope_frequencies(options, length);
  }
  throw_internal("rotary embedding: unknown scaling");
}

std::int64_t shortest_alike(const RotaryOptions& options, std::int64_t length) noexcept {
  if (options.scaling == RotaryScaling::dynamic && length > options.max_positions) return length;
  if (options.scaling == RotaryScaling::longrope && length > options.original_positions) {
    return options.original_positions + 1;
  }
  return 1;
}

}  // namespace mobula::nn
