/// Dropout whose masks come from a counter-based stream, so that they can be drawn again after a restart.
/// Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace mobula::nn {

/// Hands out one place in a random stream for each dropout of a step. Cheap to copy.
class DropoutStream {
 public:
  void restart(std::uint64_t seed, std::uint64_t stream) noexcept {
    seed_ = seed;
    stream_ = stream;
    num_sites_ = 0;
  }
  /// Returns a mask like `like` (same shape and type): 0 with probability `p`, else 1 / (1 - p). Each call
  /// draws independently of the calls before it. The result doesn't depend on the number of threads.
  at::Tensor mask(const at::Tensor& like, double p);

 private:
  std::uint64_t seed_ = 0;
  std::uint64_t stream_ = 0;
  std::uint32_t num_sites_ = 0;
};

/// Returns x * mask with probability `p` of dropping; `x` itself where p is 0. Differentiable.
at::Tensor dropout(const at::Tensor& x, double p, DropoutStream& stream);

}  // namespace mobula::nn
