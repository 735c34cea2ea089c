/// Where a model's parameters come from while it is being built: fresh values, or a checkpoint.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/initial.hpp"
#include "mobula/nn/quantized_matrix.hpp"

namespace mobula::nn {

/// Gives a model under construction its parameters by name.
class ParameterSource {
 public:
  virtual ~ParameterSource() = default;
  /// Returns the parameter's values. Throws Error where a checkpoint lacks the name or has another shape.
  virtual at::Tensor get(const std::string& name, at::IntArrayRef shape, Initial initial) = 0;
  /// Tells whether get() would find the parameter: for those that some checkpoints leave out.
  virtual bool has(const std::string& name) const = 0;
  /// Returns the matrix as a checkpoint keeps it in few bits, for models that compute with it; null: ask get(). Throws as
  /// get() does.
  virtual std::shared_ptr<const QuantizedMatrix> quantized(const std::string& name, at::IntArrayRef shape);
};

/// Gives tensors over a checkpoint's numbers.
class StoredParameters final : public ParameterSource {
 public:
  /// Keeps a reference to `parameters`. Where `writable`, tensors are copies; else they must not be written to.
  StoredParameters(CheckpointParameters& parameters, bool writable) : parameters_(parameters), writable_(writable) {}
  at::Tensor get(const std::string& name, at::IntArrayRef shape, Initial initial) override;
  bool has(const std::string& name) const override { return parameters_.has(name); }
  std::shared_ptr<const QuantizedMatrix> quantized(const std::string& name, at::IntArrayRef shape) override {
    return parameters_.quantized(name, shape.vec());
  }

 private:
  CheckpointParameters& parameters_;
  bool writable_;
};

/// Draws fresh fp32 values; each depends on the seed and the parameter's name only.
class FreshParameters final : public ParameterSource {
 public:
  explicit FreshParameters(std::uint64_t seed) : seed_(seed) {}
  at::Tensor get(const std::string& name, at::IntArrayRef shape, Initial initial) override;
  bool has(const std::string&) const override { return true; }

 private:
  std::uint64_t seed_;
};

}  // namespace mobula::nn
