#include "mobula/nn/tensor_array.hpp"

#include <ATen/ops/from_blob.h>

#include <memory>

namespace mobula::nn {

at::Tensor to_tensor(const Array& array) {
  if (!array.defined()) return {};
  return at::from_blob(
      const_cast<void*>(array.const_data_ptr()), array.sizes(), [owner = array.owner()](void*) {},
      at::TensorOptions().dtype(array.scalar_type()));
}

Array to_array(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  const auto kept = std::make_shared<const at::Tensor>(tensor.detach().contiguous());
  return {kept->const_data_ptr(), kept->sizes().vec(), kept->scalar_type(), kept};
}

}  // namespace mobula::nn
