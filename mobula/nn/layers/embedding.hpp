/// Tables of vectors.
#pragma once

#include <ATen/core/Tensor.h>

namespace mobula::nn {

/// Returns the rows [B, T, C] of `table_VC` that `ids_BT` (int64) names. Differentiable.
at::Tensor embedding(const at::Tensor& table_VC, const at::Tensor& ids_BT);

/// Returns token vectors plus the first T position vectors, [B, T, C] in fp32. Differentiable.
at::Tensor token_and_position_embedding(const at::Tensor& tokens_VC, const at::Tensor& positions_PC,
                                        const at::Tensor& ids_BT);

}  // namespace mobula::nn
