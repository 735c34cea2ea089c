/// A module's parameters as arrays, by name: how a model of libtorch's tensors becomes one for the decode loop.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "mobula/nn/array.hpp"
#include "mobula/nn/initial.hpp"
#include "mobula/nn/module.hpp"
#include "mobula/nn/quantized_matrix.hpp"

namespace mobula::nn {

/// Gives arrays over the parameters' memory.
class ParameterArrays {
 public:
  using Quantized = std::unordered_map<std::string, std::shared_ptr<const QuantizedMatrix>>;
  /// `quantized` are the matrices that the module holds beside its parameters.
  explicit ParameterArrays(const Module& module, Quantized quantized = {});

  /// Returns the parameter. Throws Error(not_found).
  Array get(const std::string& name, const Shape& shape, Initial initial = {}) const;
  bool has(const std::string& name) const { return arrays_.contains(name); }
  std::shared_ptr<const QuantizedMatrix> quantized(const std::string& name, const Shape& shape) const;

 private:
  std::unordered_map<std::string, Array> arrays_;
  Quantized quantized_;
};

}  // namespace mobula::nn
