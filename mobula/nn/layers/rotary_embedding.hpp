/// Rotary position embedding of queries and keys (Su et al., "RoFormer", 2021).
///
/// Shape suffixes: B sequences, T positions, H heads, D width of a head, R half of the dimensions that turn.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "mobula/nn/layers/rotary_frequencies.hpp"

namespace mobula::nn {

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
  /// Returns the table for int64 `positions` ([T] or [B, T]) of sequences of `length` tokens.
  RotaryTable table(const at::Tensor& positions, std::int64_t length) const;
  /// Turns queries or keys `x_BTHD`; computes in fp32, returns x's type. Differentiable.
  at::Tensor turn(const at::Tensor& x_BTHD, const RotaryTable& table) const;

 private:
  RotaryOptions options_;
};

}  // namespace mobula::nn
