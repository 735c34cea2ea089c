/// Inner loops of training, compiled once for each instruction set and chosen when the program starts.
///
/// Everything here works on plain row-major arrays, on the caller's thread. Sums run in an order that depends
/// on the sizes and the instruction set only, never on threads or alignment: the same machine gives the same
/// bits.
#pragma once

#include <cstdint>

namespace mobula::nn::kernels {

/// A bfloat16 value's bits.
using Bf16Bits = std::uint16_t;

/// What a layer norm's loops work on: `rows` rows of `width` numbers.
struct LayerNormShape {
  std::int64_t rows = 0;
  std::int64_t width = 0;
  float epsilon = 1e-5f;
};

/// One head of causal attention over one sequence; rows of q, k, v (and their gradients) lie `qkv_stride`
/// apart, those of the output `out_stride`.
struct AttentionHead {
  std::int64_t positions = 0;
  std::int64_t head_width = 0;
  std::int64_t qkv_stride = 0;
  std::int64_t out_stride = 0;
  float scale = 1.0f;  ///< what scores are multiplied by
};

/// The loops of one instruction set.
struct SimdKernels {
  const char* name;

  /// C[M,N] = A·B, or C += A·B where `accumulate`. A is [M,K], or [K,M] where `a_transposed`; strides count
  /// numbers.
  void (*gemm)(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, bool a_transposed,
               const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate);
  /// The same product of bfloat16 with fp32 sums for processors without such instructions. `b` is one panel of
  /// pack_bf16_panel, `ldb` its width.
  void (*gemm_bf16_panel)(std::int64_t m, std::int64_t n, std::int64_t k, const Bf16Bits* a, std::int64_t lda,
                          const Bf16Bits* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate);

  /// out[n][m] = in[m][n].
  void (*transpose)(std::int64_t m, std::int64_t n, const float* in, std::int64_t ldi, float* out, std::int64_t ldo);
  /// out[n][m] = in[m][n].
  void (*transpose_bf16)(std::int64_t m, std::int64_t n, const Bf16Bits* in, std::int64_t ldi, Bf16Bits* out,
                         std::int64_t ldo);
  /// out[m][n] = in[m][n].
  void (*copy_block)(std::int64_t m, std::int64_t n, const float* in, std::int64_t ldi, float* out, std::int64_t ldo);
  /// Rounds to nearest, ties to even. Numbers below 2^-126 may become 0.
  void (*to_bf16)(std::int64_t n, const float* in, Bf16Bits* out);
  /// Interleaves pairs of rows of `in` [k,n] into out[ceil(k/2)][width][2], the operand order of dot-product
  /// instructions; what is missing of the last row and of `width` columns is 0.
  void (*pack_bf16_panel)(std::int64_t k, std::int64_t n, const float* in, std::int64_t ldi, std::int64_t width,
                          Bf16Bits* out);

  /// Fills rows with `bias`, or with bias + residual where `residual` isn't null (strides: out's).
  void (*fill_rows)(std::int64_t rows, std::int64_t n, const float* bias, const float* residual, float* out,
                    std::int64_t ldo);
  /// out[j] (+)= sum over rows of in[i][j].
  void (*column_sum)(std::int64_t rows, std::int64_t n, const float* in, std::int64_t ldi, float* out, bool accumulate);

  /// y = (x - mean) / sqrt(variance + epsilon) * gamma + beta; keeps mean and 1 / sqrt(...) of every row. Where
  /// `y_bf16` isn't null the result goes there, rounded, and `y` may be null.
  void (*layer_norm)(const LayerNormShape& shape, const float* x, const float* gamma, const float* beta, float* y,
                     Bf16Bits* y_bf16, float* mean, float* inverse_deviation);
  /// dx = gradient through the norm, plus `residual` where it isn't null. Adds the rows' sums of dy * x̂ and dy
  /// to dgamma and dbeta.
  void (*layer_norm_backward)(const LayerNormShape& shape, const float* dy, const float* x, const float* mean,
                              const float* inverse_deviation, const float* gamma, const float* residual, float* dx,
                              float* dgamma, float* dbeta);

  /// GELU by its tanh form (Hendrycks and Gimpel 2016). The result goes to `y_bf16`, rounded, where that isn't
  /// null, else to `y`.
  void (*gelu)(std::int64_t n, const float* x, float* y, Bf16Bits* y_bf16);
  /// dx = dy * gelu'(x); `dx` may be `dy`. Writes it rounded to `dx_bf16` too where that isn't null.
  void (*gelu_backward)(std::int64_t n, const float* dy, const float* x, float* dx, Bf16Bits* dx_bf16);

  /// Numbers of scratch that attention and its gradient need for one head.
  std::int64_t (*attention_scratch)(const AttentionHead& head);
  /// out = softmax(scale * q·kᵀ, causal)·v; keeps each row's log of the sum of exponentials.
  void (*attention)(const AttentionHead& head, const float* q, const float* k, const float* v, float* out,
                    float* log_sum, float* scratch);
  /// Gradients of q, k and v out of that of the output, computing the weights again.
  void (*attention_backward)(const AttentionHead& head, const float* q, const float* k, const float* v,
                             const float* dout, const float* log_sum, float* dq, float* dk, float* dv, float* scratch);

  /// Turns rows of scores into gradients of the negative log-likelihood, times `scale`; returns the sum of the
  /// losses. Rows whose target is negative give zeros. Columns from n to ld become 0.
  double (*cross_entropy)(std::int64_t rows, std::int64_t n, std::int64_t ld, const std::int64_t* targets, float scale,
                          float* scores);

  /// x *= factor.
  void (*scale)(std::int64_t n, float factor, float* x);
  /// y += x.
  void (*add)(std::int64_t n, const float* x, float* y);
};

/// Returns the loops for this processor: "avx512bf16", "avx512", "avx2" or "portable". The environment variable MOBULA_SIMD
/// forces a lower one.
const SimdKernels& simd_kernels();
/// Returns the loops of every instruction set this processor has, best first.
const SimdKernels* const* all_simd_kernels(int& count);

}  // namespace mobula::nn::kernels
