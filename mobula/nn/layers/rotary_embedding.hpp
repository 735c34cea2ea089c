/// Rotary position embedding (Su et al., "RoFormer", 2021) and the ways to stretch it over longer texts: linear
/// interpolation (Chen et al. 2023), dynamic NTK scaling, Llama 3's smoothed scaling, YaRN (Peng et al. 2023), LongRoPE
/// (Ding et al. 2024). Frequencies are computed in fp32 by the same operations as in transformers, because a rounding
/// error in a frequency grows with the position.
///
/// Shape suffixes: B sequences, T positions, H heads, D width of a head, R half of the dimensions that turn.
#pragma once

#include <ATen/core/Tensor.h>

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

/// Cosines and sines, fp32, [T, R] or [B, T, R].
struct RotaryTable {
  at::Tensor cosine, sine;
};

/// Immutable and thread-safe.
class RotaryEmbedding {
 public:
  /// Throws Error(invalid_argument) for sizes that don't fit one another.
  explicit RotaryEmbedding(RotaryOptions options);

  const RotaryOptions& options() const noexcept { return options_; }
  /// Returns the angles per position [R] that a sequence of `length` tokens uses.
  at::Tensor frequencies(std::int64_t length) const;
  /// Returns the length of the shortest sequences that turn by the same angles as one of `length`: keys kept from a length
  /// with another answer are worthless.
  std::int64_t shortest_alike(std::int64_t length) const noexcept;
  /// Returns the table for int64 `positions` ([T] or [B, T]) of sequences of `length` tokens.
  RotaryTable table(const at::Tensor& positions, std::int64_t length) const;
  /// Turns queries or keys `x_BTHD`; computes in fp32, returns x's type. Differentiable.
  at::Tensor turn(const at::Tensor& x_BTHD, const RotaryTable& table) const;

 private:
  RotaryOptions options_;
};

}  // namespace mobula::nn
