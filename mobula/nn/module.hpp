/// What trainers, checkpoints and optimizers need of a model: named parameters, a training mode, a random
/// stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/nn/layers/dropout.hpp"

namespace mobula::nn {

/// A tensor under the name that checkpoints give it.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

/// Base of every model. Not thread-safe; the parameters' storage may be shared with other modules.
class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module();

  /// Returns the parameters in a fixed order under their Hugging Face names: leaf tensors with requires_grad.
  /// Tied parameters appear once.
  const std::vector<NamedTensor>& parameters() const noexcept { return parameters_; }
  /// Returns the parameter of that name; throws Error(not_found) with the nearest name.
  const at::Tensor& parameter(std::string_view name) const;
  /// Returns the number of scalars in all parameters.
  std::int64_t num_parameters() const;

  /// Switches dropout on or off. A new module is not in training mode.
  void train(bool on) noexcept { training_ = on; }
  bool is_training() const noexcept { return training_; }
  /// Drops all gradients.
  void zero_grad();

  /// Starts the stream from which dropout draws. All later draws depend only on these two numbers and on the
  /// order of calls, so a trainer that passes (seed, rank and step) before every step gets the same masks
  /// after a restart.
  void seed_dropout(std::uint64_t seed, std::uint64_t stream) noexcept { dropout_.restart(seed, stream); }

 protected:
  /// Adds a parameter; it becomes a leaf that requires gradients.
  at::Tensor add_parameter(std::string name, at::Tensor value);
  DropoutStream& dropout_stream() noexcept { return dropout_; }

 private:
  std::vector<NamedTensor> parameters_;
  DropoutStream dropout_;
  bool training_ = false;
};

}  // namespace mobula::nn
