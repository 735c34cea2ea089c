#include "mobula/models/rotary_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "mobula/base/error.hpp"

namespace mobula::models {
namespace {

using nn::RotaryOptions;
using nn::RotaryScaling;

constexpr double kMost = 1e12;

std::optional<ConfigReader> find_settings(const ConfigReader& config, std::string_view layer_type) {
  // The old spelling wins where a file has both, as in transformers.
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    auto settings = config.object(key);
    if (!settings || settings->json().empty()) continue;
    if (layer_type.empty()) return settings;
    if (auto nested = settings->object(layer_type)) return nested;
    return settings;
  }
  return std::nullopt;
}

double required(const ConfigReader& settings, std::string_view key, std::string_view type) {
  if (!settings.has(key)) {
    throw_invalid(fmt::format("config.json: rope_type '{}' needs '{}' in rope_parameters or rope_scaling", type, key));
  }
  return settings.number(key, 0.0, 1e-6, kMost);
}

double yarn_magnitude(double factor, double weight) {
  return factor <= 1.0 ? 1.0 : 0.1 * weight * std::log(factor) + 1.0;
}

void read_yarn(RotaryOptions& options, const ConfigReader& settings, std::int64_t max_positions) {
  options.factor = settings.number(
      "factor", static_cast<double>(max_positions) / static_cast<double>(options.original_positions), 1e-6, kMost);
  const double mscale = settings.number("mscale", 0.0), all = settings.number("mscale_all_dim", 0.0);
  const double inferred = mscale != 0.0 && all != 0.0
                              ? yarn_magnitude(options.factor, mscale) / yarn_magnitude(options.factor, all)
                              : yarn_magnitude(options.factor, 1.0);
  options.magnitude = settings.number("attention_factor", inferred);
  const auto or_default = [](double value, double fallback) { return value == 0.0 ? fallback : value; };
  options.beta_fast = or_default(settings.number("beta_fast", 0.0), 32.0);
  options.beta_slow = or_default(settings.number("beta_slow", 0.0), 1.0);
  options.truncate = settings.boolean("truncate", true);
}

void read_longrope(RotaryOptions& options, const ConfigReader& settings, std::int64_t max_positions) {
  const auto divisors = [&](std::string_view key) {
    std::vector<float> values;
    for (const double value : settings.numbers(key)) values.push_back(static_cast<float>(value));
    if (values.size() != static_cast<std::size_t>(options.dim / 2)) {
      throw_invalid(fmt::format("config.json: {} has {} numbers, expected {}: half of the dimensions that turn", key,
                                values.size(), options.dim / 2));
    }
    return values;
  };
  options.short_divisors = divisors("short_factor");
  options.long_divisors = divisors("long_factor");
  const double original = static_cast<double>(options.original_positions);
  options.factor = settings.number("factor", static_cast<double>(max_positions) / original, 1e-6, kMost);
  const double inferred = options.factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(options.factor) / std::log(original));
  options.magnitude = settings.number("attention_factor", inferred);
}

}  // namespace

RotaryOptions read_rotary(const ConfigReader& config, const RotaryDefaults& defaults, std::string_view layer_type) {
  RotaryOptions options;
  const double top_theta = config.number(defaults.theta_key, defaults.theta, 1e-6, kMost);
  const double top_partial = config.number(defaults.partial_key, defaults.partial, 0.0, 1.0);
  const Json empty = Json::object();
  const ConfigReader settings = find_settings(config, layer_type).value_or(ConfigReader(empty));
  options.theta = settings.number("rope_theta", top_theta, 1e-6, kMost);
  const double partial = settings.number("partial_rotary_factor", top_partial, 0.0, 1.0);
  options.dim = static_cast<std::int64_t>(static_cast<double>(defaults.head_dim) * partial);
  if (options.dim < 2 || options.dim % 2 != 0) {
    throw_invalid(
        fmt::format("config.json: rotary embedding turns {} of a head's {} dimensions, expected an even number",
                    options.dim, defaults.head_dim));
  }
  options.max_positions = defaults.max_positions;
  const std::int64_t most = std::int64_t{1} << 31;
  const std::int64_t top_original =
      config.integer("original_max_position_embeddings", defaults.original_positions, 1, most);
  options.original_positions =
      top_original > 0 ? top_original
                       : settings.integer("original_max_position_embeddings", defaults.max_positions, 1, most);

  std::string type = settings.text("rope_type", settings.text("type", "default"));
  if (type == "yarn" && defaults.yarn_means_longrope) type = "longrope";
  if (type == "default") return options;
  if (type == "linear" || type == "dynamic") {
    options.scaling = type == "linear" ? RotaryScaling::linear : RotaryScaling::dynamic;
    options.factor = required(settings, "factor", type);
    if (type == "dynamic" && options.dim == 2) {
      throw_invalid("config.json: rope_type 'dynamic' needs heads of which more than 2 dimensions turn");
    }
  } else if (type == "llama3") {
    options.scaling = RotaryScaling::llama3;
    options.factor = required(settings, "factor", type);
    options.low_frequency_factor = required(settings, "low_freq_factor", type);
    options.high_frequency_factor = required(settings, "high_freq_factor", type);
  } else if (type == "yarn") {
    options.scaling = RotaryScaling::yarn;
    read_yarn(options, settings, defaults.max_positions);
  } else if (type == "longrope" || type == "su") {
    options.scaling = RotaryScaling::longrope;
    read_longrope(options, settings, defaults.max_positions);
  } else {
    throw Error(ErrorCode::unsupported, fmt::format("config.json: rope_type '{}' is not supported", type),
                "known: default, linear, dynamic, llama3, yarn, longrope");
  }
  return options;
}

std::int64_t stretched_context(const RotaryOptions& options, std::int64_t max_positions) {
  const auto times = [&](std::int64_t positions) {
    return std::max(max_positions, static_cast<std::int64_t>(static_cast<double>(positions) * options.factor));
  };
  switch (options.scaling) {
    case RotaryScaling::linear:
    case RotaryScaling::dynamic:
      return times(max_positions);
    case RotaryScaling::yarn:
      return times(options.original_positions);
    case RotaryScaling::none:
    case RotaryScaling::llama3:
    case RotaryScaling::longrope:
      return max_positions;
  }
  throw_internal("rotary embedding: unknown scaling");
}

}  // namespace mobula::models
