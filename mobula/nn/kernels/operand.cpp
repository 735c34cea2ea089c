#include "mobula/nn/kernels/operand.hpp"

#include <ATen/native/CPUBlas.h>
#include <c10/util/BFloat16.h>

#include <algorithm>

#include "mobula/nn/kernels/parallel_tasks.hpp"

namespace mobula::nn::kernels {
namespace {

bool has_bf16_micro_kernels() {
  static const bool has = at::native::cpublas::could_pack(at::kBFloat16);
  return has;
}

// One panel's product: B is [k / 2][n][2] in bf16, [k][n] in fp32.
void multiply_panel(std::int64_t m, std::int64_t n, std::int64_t k, const Bf16Bits* a, std::int64_t lda,
                    const Bf16Bits* b, float* c, std::int64_t ldc, bool accumulate) {
  if (has_bf16_micro_kernels()) {
    at::native::cpublas::brgemm(m, n, k, lda, n, ldc, accumulate, reinterpret_cast<const c10::BFloat16*>(a),
                                reinterpret_cast<const c10::BFloat16*>(b), c, /*is_vnni=*/true);
  } else {
    simd_kernels().gemm_bf16_panel(m, n, k, a, lda, b, n, c, ldc, accumulate);
  }
}

void multiply_panel(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
                    float* c, std::int64_t ldc, bool accumulate) {
  simd_kernels().gemm(m, n, k, a, lda, false, b, n, c, ldc, accumulate);
}

}  // namespace

template <class E>
std::int64_t RightOperand<E>::packed_size(std::int64_t k, std::int64_t n) {
  return k * n;
}

template <class E>
RightOperand<E>::RightOperand(const float* matrix, std::int64_t k, std::int64_t n, bool transposed, E* memory)
    : matrix_(matrix), memory_(memory), k_(k), n_(n), transposed_(transposed) {}

template <class E>
std::int64_t RightOperand<E>::num_pack_tasks() const {
  return (n_ + kPanel - 1) / kPanel;
}

template <>
void RightOperand<float>::pack(std::int64_t task) const {
  const std::int64_t first = task * kPanel;
  const std::int64_t count = std::min(kPanel, n_ - first);
  float* panel = memory_ + first * k_;
  if (transposed_) {
    simd_kernels().transpose(count, k_, matrix_ + first * k_, k_, panel, count);
  } else {
    simd_kernels().copy_block(k_, count, matrix_ + first, n_, panel, count);
  }
}

template <>
void RightOperand<Bf16Bits>::pack(std::int64_t task) const {
  const SimdKernels& simd = simd_kernels();
  const std::int64_t first = task * kPanel;
  const std::int64_t count = std::min(kPanel, n_ - first);
  const float* columns = matrix_ + first;
  std::int64_t ld = n_;
  if (transposed_) {
    auto* scratch = reinterpret_cast<float*>(thread_scratch(static_cast<std::size_t>(k_ * kPanel) * sizeof(float)));
    simd.transpose(count, k_, matrix_ + first * k_, k_, scratch, kPanel);
    columns = scratch;
    ld = kPanel;
  }
  simd.pack_bf16_panel(k_, count, columns, ld, count, memory_ + first * k_);
}

template <class E>
void RightOperand<E>::multiply(std::int64_t m, const E* a, std::int64_t lda, float* c, std::int64_t ldc,
                               bool accumulate) const {
  for (std::int64_t j = 0; j < n_; j += kPanel) {
    multiply_panel(m, std::min(kPanel, n_ - j), k_, a, lda, memory_ + j * k_, c + j, ldc, accumulate);
  }
}

template <>
float* SavedInput<float>::rows_at(std::int64_t first, float*) const {
  return data + first * width;
}

template <>
Bf16Bits* SavedInput<Bf16Bits>::rows_at(std::int64_t, Bf16Bits* chunk) const {
  return chunk;
}

template <>
void SavedInput<float>::keep(std::int64_t, std::int64_t, const float*) const {}

template <>
void SavedInput<Bf16Bits>::keep(std::int64_t first, std::int64_t count, const Bf16Bits* written) const {
  const std::int64_t ld = padded_rows(rows);
  simd_kernels().transpose_bf16(count, width, written, width, data + first, ld);
  if (first + count == rows) {
    for (std::int64_t j = 0; j < width; ++j) std::fill(data + j * ld + rows, data + (j + 1) * ld, Bf16Bits{0});
  }
}

template <>
void SavedInput<float>::weight_gradient(const float* dy, std::int64_t ld, std::int64_t first, std::int64_t count,
                                        float* grad) const {
  // Side by side, the columns' rows would fall into few sets of the cache.
  auto* packed = reinterpret_cast<float*>(thread_scratch(static_cast<std::size_t>(rows * count) * sizeof(float)));
  simd_kernels().copy_block(rows, count, dy + first, ld, packed, count);
  simd_kernels().gemm(width, count, rows, data, width, true, packed, count, grad + first, ld, false);
}

template <>
void SavedInput<Bf16Bits>::weight_gradient(const float* dy, std::int64_t ld, std::int64_t first, std::int64_t count,
                                           float* grad) const {
  const std::int64_t depth = padded_rows(rows);
  const auto numbers = static_cast<std::size_t>(depth * count);
  auto* packed = reinterpret_cast<Bf16Bits*>(thread_scratch(numbers * sizeof(Bf16Bits)));
  std::fill(packed + rows / 2 * 2 * count, packed + numbers, Bf16Bits{0});
  simd_kernels().pack_bf16_panel(rows, count, dy + first, ld, count, packed);
  multiply_panel(width, count, depth, data, depth, packed, grad + first, ld, false);
}

template <>
const float* as_elements(std::int64_t, const float* in, float*) {
  return in;
}

template <>
const Bf16Bits* as_elements(std::int64_t n, const float* in, Bf16Bits* chunk) {
  simd_kernels().to_bf16(n, in, chunk);
  return chunk;
}

void end_products() {
  if (has_bf16_micro_kernels()) at::native::cpublas::brgemm_release(true);
}

template class RightOperand<float>;
template class RightOperand<Bf16Bits>;

}  // namespace mobula::nn::kernels
