/// Sums of a token's and a position's row as one differentiable function.
#pragma once

#include <ATen/core/Tensor.h>

namespace mobula::nn::kernels {

/// Tells whether token_position_embedding can take these: fp32 tables and int64 ids in main memory, the tables
/// contiguous.
bool can_run_token_position_embedding(const at::Tensor& tokens_VC, const at::Tensor& positions_PC,
                                      const at::Tensor& ids_BT);

/// Returns tokens[ids] + positions[0 .. T), fp32 [B, T, C]. `ids_BT` holds int64. Rows' gradients are summed in the
/// order of the ids, whatever the number of threads. Differentiable once in both tables. Throws
/// Error(invalid_argument) naming an id outside the vocabulary or a T over the positions.
at::Tensor token_position_embedding(const at::Tensor& tokens_VC, const at::Tensor& positions_PC,
                                    const at::Tensor& ids_BT);

}  // namespace mobula::nn::kernels
