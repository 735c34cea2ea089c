/// For tests.
#pragma once

#include <cstddef>

#include "mobula/nn/tensor_file.hpp"

namespace mobula::nn::testing_samples {

/// Reads everything that a file says it holds.
inline void read_all(const TensorFile& file) {
  static volatile unsigned sum = 0;
  for (const TensorInfo& info : file.tensors()) {
    const Array array = file.tensor(info.name);
    const auto* bytes = static_cast<const unsigned char*>(array.const_data_ptr());
    for (std::size_t i = 0; i < array.nbytes(); ++i) sum = sum + bytes[i];
    if (array.is_floating_point()) (void)array.to(at::kFloat);
  }
}

}  // namespace mobula::nn::testing_samples
