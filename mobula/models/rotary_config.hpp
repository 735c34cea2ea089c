/// Rotary embedding's settings in config.json, in both spellings: rope_theta, rope_scaling, partial_rotary_factor at top
/// level, or everything in rope_parameters, where it may be split by layer type.
#pragma once

#include <cstdint>
#include <string_view>

#include "mobula/models/config_reader.hpp"
#include "mobula/nn/layers/rotary_frequencies.hpp"

namespace mobula::models {

/// What counts where config.json says nothing.
struct RotaryDefaults {
  std::int64_t head_dim = 0;
  std::int64_t max_positions = 0;
  std::int64_t original_positions = 0;  ///< original_max_position_embeddings; 0: as max_positions
  double theta = 10000.0;
  double partial = 1.0;              ///< share of the head that turns
  bool yarn_means_longrope = false;  ///< Phi-3's early checkpoints
  /// Top-level keys of old spellings.
  std::string_view theta_key = "rope_theta";
  std::string_view partial_key = "partial_rotary_factor";
};

/// Reads the settings; with a `layer_type`, those under it in rope_parameters where there are such. Throws
/// Error(invalid_argument) naming the key, Error(unsupported) for an unknown rope_type.
nn::RotaryOptions read_rotary(const ConfigReader& config, const RotaryDefaults& defaults,
                              std::string_view layer_type = {});

/// Returns how long sequences may be: `max_positions`, or what scaling stretches that to.
std::int64_t stretched_context(const nn::RotaryOptions& options, std::int64_t max_positions);

}  // namespace mobula::models
