/// AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) over all parameters in one pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "mobula/nn/module.hpp"

namespace mobula::train {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;  ///< of parameters with two dimensions or more; vectors are not decayed
};

/// The optimizer's state and step. Arithmetic is that of PyTorch's AdamW in single precision; every element is computed by
/// itself, so neither threads nor vector width change a bit.
class AdamW {
 public:
  /// Keeps references to the parameters' storage: contiguous fp32 tensors on the CPU.
  AdamW(const std::vector<nn::NamedTensor>& parameters, AdamWOptions options);

  /// Returns the sum of squares of all gradients, one pointer a parameter, in a fixed order whatever the threads. A null
  /// pointer stands for a parameter that has none: step() leaves it as it is.
  double sum_of_squares(std::span<const float* const> gradients) const;
  /// Updates the parameters with gradients times `scale`. Counts one step.
  void step(std::span<const float* const> gradients, double lr, double scale);

  std::int64_t num_steps() const noexcept { return num_steps_; }
  void set_num_steps(std::int64_t steps) noexcept { num_steps_ = steps; }
  /// Returns the state under the parameters' names with ".exp_avg" and ".exp_avg_sq" behind; writing to it changes it.
  std::vector<nn::NamedTensor> state() const;

 private:
  struct Parameter {
    std::string name;
    at::Tensor value;
    at::Tensor mean;
    at::Tensor square;
    bool decays;
  };
  /// A piece of one parameter: what a thread takes at a time.
  struct Chunk {
    std::size_t parameter;
    std::int64_t begin;
    std::int64_t end;
  };

  AdamWOptions options_;
  std::vector<Parameter> parameters_;
  std::vector<Chunk> chunks_;
  std::int64_t num_steps_ = 0;
};

}  // namespace mobula::train
