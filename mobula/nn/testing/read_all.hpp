/// For tests.
#pragma once

#include <ATen/core/Tensor.h>

#include "mobula/nn/tensor_file.hpp"

namespace mobula::nn::testing_samples {

/// Reads everything that a file says it holds.
inline void read_all(const TensorFile& file) {
  for (const TensorInfo& info : file.tensors()) {
    const at::Tensor tensor = file.tensor(info.name);
    if (tensor.numel() > 0) (void)tensor.to(at::kFloat).sum().item<float>();
  }
}

}  // namespace mobula::nn::testing_samples
