/// Tensors in pooled memory.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

namespace mobula::nn::kernels {

/// Makes a contiguous fp32 tensor out of memory of take_buffer(); its content is unspecified.
at::Tensor take_tensor(at::IntArrayRef sizes);

}  // namespace mobula::nn::kernels
