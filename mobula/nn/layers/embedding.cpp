#include "mobula/nn/layers/embedding.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/embedding.h>

namespace mobula::nn {

at::Tensor embedding(const at::Tensor& table_VC, const at::Tensor& ids_BT) {
  return at::embedding(table_VC, ids_BT);
}

at::Tensor token_and_position_embedding(const at::Tensor& tokens_VC, const at::Tensor& positions_PC,
                                        const at::Tensor& ids_BT) {
  const at::Tensor positions_TC = positions_PC.narrow(0, 0, ids_BT.size(1));
  return at::add(nn::embedding(tokens_VC, ids_BT).to(at::kFloat), positions_TC.to(at::kFloat));
}

}  // namespace mobula::nn
