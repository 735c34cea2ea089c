/// Arrays and libtorch's tensors over the same memory.
#pragma once

#include <ATen/core/Tensor.h>

#include "mobula/nn/array.hpp"

namespace mobula::nn {

/// Returns a tensor over the array's memory, which it keeps alive; undefined for no array. It must not be written to unless
/// the array may be.
at::Tensor to_tensor(const Array& array);

/// Returns an array over the tensor's memory, or over a copy of a tensor whose rows don't follow one another; no array for an
/// undefined one. The tensor must lie in the memory of this machine's processors.
Array to_array(const at::Tensor& tensor);

}  // namespace mobula::nn
