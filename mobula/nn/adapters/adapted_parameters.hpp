/// An adapter merged into a model's parameters while they are read: for models that nothing adapts at run time.
#pragma once

#include <string>
#include <unordered_set>

#include "mobula/nn/adapters/adapter.hpp"
#include "mobula/nn/parameter_source.hpp"

namespace mobula::nn {

/// Gives what another source gives, changed as merged_parameters() does. What the adapter leaves alone stays the other
/// source's own tensor.
class AdaptedParameters final : public ParameterSource {
 public:
  /// Keeps references to both.
  AdaptedParameters(ParameterSource& base, const Adapter& adapter) : base_(base), adapter_(adapter) {}

  at::Tensor get(const std::string& name, at::IntArrayRef shape, Initial initial) override;
  bool has(const std::string& name) const override { return base_.has(name); }

  /// Throws Error(invalid_argument) naming a module or parameter that the adapter changes and nobody asked for.
  void check_all_used() const;

 private:
  ParameterSource& base_;
  const Adapter& adapter_;
  std::unordered_set<std::string> asked_;  // parameters
};

}  // namespace mobula::nn
