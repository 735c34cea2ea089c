// The loops of simd.hpp, compiled for one instruction set by the file that includes this after setting
// MOBULA_SIMD_NAME (of the table), MOBULA_SIMD_LANES, MOBULA_SIMD_REGISTERS and MOBULA_SIMD_VECTORS (the width
// of a matrix tile).
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>

#include "mobula/nn/kernels/simd.hpp"

#define MOBULA_LAMBDA __attribute__((always_inline))

namespace mobula::nn::kernels {
namespace {

#include "mobula/nn/kernels/simd_vector.inl"

#include "mobula/nn/kernels/simd_gemm.inl"

#include "mobula/nn/kernels/simd_rows.inl"

#include "mobula/nn/kernels/simd_attention.inl"

}  // namespace

extern const SimdKernels MOBULA_SIMD_NAME;
const SimdKernels MOBULA_SIMD_NAME = {
    .name = MOBULA_SIMD_TEXT,
    .gemm = gemm,
    .gemm_bf16_panel = gemm_bf16_panel,
    .transpose = transpose,
    .transpose_bf16 = transpose_bf16,
    .copy_block = copy_block,
    .to_bf16 = to_bf16,
    .pack_bf16_panel = pack_bf16_panel,
    .fill_rows = fill_rows,
    .column_sum = column_sum,
    .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward,
    .gelu = gelu,
    .gelu_backward = gelu_backward,
    .attention_scratch = attention_scratch,
    .attention = attention,
    .attention_backward = attention_backward,
    .cross_entropy = cross_entropy,
    .scale = scale,
    .add = add,
};

}  // namespace mobula::nn::kernels
