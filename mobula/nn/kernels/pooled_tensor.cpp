#include "mobula/nn/kernels/pooled_tensor.hpp"

#include <ATen/ops/from_blob.h>

#include <cstddef>
#include <memory>

#include "mobula/nn/kernels/buffer_pool.hpp"

namespace mobula::nn::kernels {

at::Tensor take_tensor(at::IntArrayRef sizes) {
  std::int64_t numel = 1;
  for (const std::int64_t size : sizes) numel *= size;
  std::shared_ptr<std::byte> block = take_buffer(static_cast<std::size_t>(numel) * sizeof(float));
  void* data = block.get();
  return at::from_blob(
      data, sizes, [block](void*) mutable { block.reset(); }, at::TensorOptions().dtype(at::kFloat));
}

}  // namespace mobula::nn::kernels
