/// Where a model's parameters come from while it is being built: fresh values, or a checkpoint.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

namespace mobula::nn {

struct QuantizedMatrix;

/// How a parameter starts where no checkpoint gives it.
struct Initial {
  enum class Kind { normal, zeros, ones };
  Kind kind = Kind::normal;
  double deviation = 0.02;  ///< of the normal distribution, whose mean is 0

  static Initial normal(double deviation) { return {Kind::normal, deviation}; }
  static Initial zeros() { return {Kind::zeros, 0}; }
  static Initial ones() { return {Kind::ones, 0}; }
};

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
