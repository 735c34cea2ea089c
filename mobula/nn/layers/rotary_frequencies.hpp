/// How fast rotary position embeddings turn (Su et al., "RoFormer", 2021), and the ways to stretch them over longer texts: linear
/// interpolation (Chen et al. 2023), dynamic NTK scaling, Llama 3's smoothed scaling, YaRN (Peng et al. 2023), LongRoPE (Ding et
/// al. 2024).
#pragma once

#include <cstdint>
#include <vector>

namespace mobula::nn {

enum class RotaryScaling { none, linear, dynamic, llama3, yarn, longrope };

struct RotaryOptions {
  std::int64_t dim = 0;  ///< how many of a head's first dimensions turn; even
  double theta = 10000.0;
  /// Pairs dimensions 2i and 2i + 1 as GPT-J does, instead of i and i + dim / 2.
  bool interleaved = false;

  RotaryScaling scaling = RotaryScaling::none;
  double factor = 1.0;                               ///< linear, dynamic, llama3, yarn
  std::int64_t max_positions = 0;                    ///< dynamic: longer sequences change theta
  std::int64_t original_positions = 0;               ///< llama3, yarn, longrope: length trained on at first
  double low_frequency_factor = 1.0;                 ///< llama3
  double high_frequency_factor = 4.0;                ///< llama3
  double beta_fast = 32.0;                           ///< yarn
  double beta_slow = 1.0;                            ///< yarn
  bool truncate = true;                              ///< yarn: whole numbers as the ramp's ends
  std::vector<float> short_divisors, long_divisors;  ///< longrope: dim / 2 each
  double magnitude = 1.0;                            ///< what cosine and sine are multiplied by
};

/// Throws Error(invalid_argument) for sizes that don't fit one another.
void check_rotary(const RotaryOptions& options);

/// Returns the dim / 2 angles per position that a sequence of `length` tokens uses. Computed in fp32 by the steps that
/// transformers takes, because a rounding error in a frequency grows with the position; its powers come from another library,
/// so that one in a hundred may differ in the last bit.
std::vector<float> rotary_frequencies(const RotaryOptions& options, std::int64_t length);

/// Returns the length of the shortest sequences that turn by the same angles as one of `length`: keys kept from a length with
/// another answer are worthless.
std::int64_t shortest_alike(const RotaryOptions& options, std::int64_t length) noexcept;

}  // namespace mobula::nn
