/// Starting values of parameters.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace mobula::nn {

/// Returns an fp32 tensor of normally distributed values with mean 0. They depend on the seed and the name
/// only, so that a parameter keeps its values when others are added.
at::Tensor normal_tensor(at::IntArrayRef shape, double standard_deviation, std::uint64_t seed, std::string_view name);

}  // namespace mobula::nn
