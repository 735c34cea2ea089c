/// Operands of matrix products in fp32 and bf16, on plain arrays and the caller's thread.
///
/// In bf16 the products run on the library's bfloat16 micro-kernels (AMX or AVX512-BF16) where the processor has
/// them, else on our loops; sums are fp32 either way. Element types: float, and Bf16Bits for bfloat16.
#pragma once

#include <cstdint>

#include "mobula/nn/kernels/simd.hpp"

namespace mobula::nn::kernels {

/// Columns of a panel of a right operand: panels lie one behind the other, each with all its rows.
inline constexpr std::int64_t kPanel = 64;
/// In bf16 the depth of a product, and the width of a right operand, are multiples of this.
inline constexpr std::int64_t kBf16Step = 32;

/// The right operand B [k, n] of C = A·B, made out of an fp32 matrix by tasks that can run in parallel.
template <class E>
class RightOperand {
 public:
  /// Numbers of memory that an operand of these sizes takes.
  static std::int64_t packed_size(std::int64_t k, std::int64_t n);

  RightOperand() = default;
  /// Names B = `matrix` ([k, n], or [n, k] where `transposed`); `memory` holds packed_size() numbers.
  RightOperand(const float* matrix, std::int64_t k, std::int64_t n, bool transposed, E* memory);

  /// Number of tasks that pack() takes.
  std::int64_t num_pack_tasks() const;
  void pack(std::int64_t task) const;

  /// C[m, n] = A·B, or C += A·B where `accumulate`.
  void multiply(std::int64_t m, const E* a, std::int64_t lda, float* c, std::int64_t ldc, bool accumulate) const;

 private:
  const float* matrix_ = nullptr;
  E* memory_ = nullptr;
  std::int64_t k_ = 0;
  std::int64_t n_ = 0;
  bool transposed_ = false;
};

/// What a layer keeps of its input X [rows, width] for the gradient of its weight, Xᵀ·dY. In fp32 the rows as they
/// are; in bf16 the columns, since the micro-kernels want both operands along the depth.
template <class E>
struct SavedInput {
  E* data = nullptr;
  std::int64_t rows = 0;  ///< of X; in bf16 the memory holds padded_rows() of them, the rest zero
  std::int64_t width = 0;

  static std::int64_t padded_rows(std::int64_t rows) { return (rows + kBf16Step - 1) / kBf16Step * kBf16Step; }
  static std::int64_t size(std::int64_t rows, std::int64_t width) { return padded_rows(rows) * width; }

  /// Where the rows from `first` are to be written: into the memory itself, or into `chunk` for keep().
  E* rows_at(std::int64_t first, E* chunk) const;
  /// Keeps `count` rows from `first` that rows_at() pointed to.
  void keep(std::int64_t first, std::int64_t count, const E* written) const;
  /// Number of columns of dY that one weight_gradient() call takes.
  static constexpr std::int64_t kColumns = kPanel;
  /// grad[:, first .. first + count) = Xᵀ·dY[:, ...]; `grad` is [width, ld], dY [rows, ld].
  void weight_gradient(const float* dy, std::int64_t ld, std::int64_t first, std::int64_t count, float* grad) const;
};

/// Hands out the rows of `in` as elements: `in` itself in fp32, else rounded into `chunk`.
template <class E>
const E* as_elements(std::int64_t n, const float* in, E* chunk);

/// Frees what the micro-kernels hold on this thread (AMX's tile configuration). Every thread that multiplied calls
/// it before other code can use those units.
void end_products();

}  // namespace mobula::nn::kernels
