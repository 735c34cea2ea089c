/// Forward and backward pass of a pre-norm transformer block on plain arrays (see prenorm_block.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "mobula/nn/kernels/buffer_pool.hpp"
#include "mobula/nn/kernels/operand.hpp"
#include "mobula/nn/precision.hpp"

namespace mobula::nn::kernels {

struct PrenormBlockShape {
  std::int64_t batch = 0;
  std::int64_t positions = 0;
  std::int64_t width = 0;
  std::int64_t inner = 0;
  std::int64_t num_heads = 1;
  float attention_scale = 1.0f;
  float epsilon = 1e-5f;

  std::int64_t rows() const { return batch * positions; }
};

inline constexpr std::size_t kNumBlockParameters = 12;
/// Places of the parameters in the arrays below.
enum BlockParameter : std::size_t {
  kNorm1Weight,
  kNorm1Bias,
  kQkvWeight,
  kQkvBias,
  kProjWeight,
  kProjBias,
  kNorm2Weight,
  kNorm2Bias,
  kInWeight,
  kInBias,
  kOutWeight,
  kOutBias,
};

/// Where inputs lie: x [rows, width] and the parameters.
struct BlockPointers {
  const float* x = nullptr;
  std::array<const float*, kNumBlockParameters> parameters{};
};

/// Where gradients lie: that of the output, read, and those written.
struct BlockGradients {
  const float* dy = nullptr;
  float* dx = nullptr;
  std::array<float*, kNumBlockParameters> parameters{};
};

/// One forward pass and what its backward pass needs. backward() may be called any number of times after
/// forward(). Uses the library's threads; one caller at a time.
class PrenormBlockPass {
 public:
  virtual ~PrenormBlockPass() = default;
  virtual void forward(const BlockPointers& block, float* y) = 0;
  virtual void backward(const BlockPointers& block, const BlockGradients& gradients) const = 0;
};

std::unique_ptr<PrenormBlockPass> make_prenorm_block_pass(const PrenormBlockShape& shape, Precision precision);

}  // namespace mobula::nn::kernels
