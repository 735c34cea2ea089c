#include "mobula/nn/kernels/simd.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "mobula/base/random.hpp"

namespace mobula::nn::kernels {
namespace {

class SimdKernelsTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    int count = 0;
    const SimdKernels* const* tables = all_simd_kernels(count);
    if (GetParam() >= count) GTEST_SKIP() << "this processor has " << count << " instruction sets";
    simd_ = tables[GetParam()];
  }
  std::vector<float> random(std::int64_t n) {
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) value = static_cast<float>(random_.normal());
    return values;
  }

  const SimdKernels* simd_ = nullptr;
  Random random_{7};
};

INSTANTIATE_TEST_SUITE_P(EveryInstructionSet, SimdKernelsTest, testing::Values(0, 1, 2, 3));

float from_bits(Bf16Bits bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

TEST_P(SimdKernelsTest, MultipliesMatricesOfAnySize) {
  for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{
           {1, 1, 1}, {13, 67, 5}, {64, 128, 300}, {7, 33, 128}, {800, 17, 3}, {5, 3, 257}}) {
    for (const bool transposed : {false, true}) {
      const std::int64_t lda = (transposed ? m : k) + 3, ldb = n + 1, ldc = n + 2;
      const std::vector<float> a = random((transposed ? k : m) * lda), b = random(k * ldb), before = random(m * ldc);
      std::vector<float> set = before, added = before;
      simd_->gemm(m, n, k, a.data(), lda, transposed, b.data(), ldb, set.data(), ldc, false);
      simd_->gemm(m, n, k, a.data(), lda, transposed, b.data(), ldb, added.data(), ldc, true);
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < ldc; ++j) {
          const auto at = static_cast<std::size_t>(i * ldc + j);
          if (j >= n) {
            ASSERT_EQ(set[at], before[at]) << "written beyond a row";
            continue;
          }
          double sum = 0;
          for (std::int64_t p = 0; p < k; ++p) {
            sum += static_cast<double>(a[static_cast<std::size_t>(transposed ? p * lda + i : i * lda + p)]) *
                   b[static_cast<std::size_t>(p * ldb + j)];
          }
          ASSERT_NEAR(set[at], sum, 1e-4) << m << "x" << n << "x" << k;
          ASSERT_NEAR(added[at], sum + before[at], 1e-4);
        }
      }
    }
  }
}

TEST_P(SimdKernelsTest, ClearsAProductWithoutDepth) {
  std::vector<float> c = {1, 2, 3, 4};
  simd_->gemm(2, 2, 0, nullptr, 1, false, nullptr, 2, c.data(), 2, false);
  EXPECT_EQ(c, (std::vector<float>{0, 0, 0, 0}));
}

TEST_P(SimdKernelsTest, RoundsToBf16AsIeeeDoes) {
  const std::vector<float> in = {
      1.0f,          1.00390625f, 1.01171875f, -3.1415927f, 0.0f, -0.0f, std::numeric_limits<float>::infinity(),
      std::nanf(""), 3.4e38f};
  std::vector<Bf16Bits> out(in.size());
  simd_->to_bf16(static_cast<std::int64_t>(in.size()), in.data(), out.data());
  EXPECT_EQ(out[0], 0x3f80);
  EXPECT_EQ(out[1], 0x3f80) << "a tie goes to the even neighbour below";
  EXPECT_EQ(out[2], 0x3f82) << "a tie goes to the even neighbour above";
  EXPECT_EQ(out[3], 0xc049);
  EXPECT_EQ(out[5], 0x8000);
  EXPECT_EQ(out[6], 0x7f80);
  EXPECT_TRUE(std::isnan(from_bits(out[7])));
  EXPECT_EQ(out[8], 0x7f80);
}

TEST_P(SimdKernelsTest, MultipliesBf16PanelsAsTheirRoundedValues) {
  const std::int64_t m = 19, n = 21, k = 150, width = 32;
  const std::vector<float> a = random(m * k), b = random(k * n);
  std::vector<Bf16Bits> a16(a.size()), b16(static_cast<std::size_t>(k * width));
  simd_->to_bf16(m * k, a.data(), a16.data());
  simd_->pack_bf16_panel(k, n, b.data(), n, width, b16.data());
  std::vector<float> c(static_cast<std::size_t>(m * n));
  simd_->gemm_bf16_panel(m, n, k, a16.data(), k, b16.data(), width, c.data(), n, false);
  std::vector<Bf16Bits> rounded(b.size());
  simd_->to_bf16(k * n, b.data(), rounded.data());
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t p = 0; p < k; ++p) {
        sum += static_cast<double>(from_bits(a16[static_cast<std::size_t>(i * k + p)])) *
               from_bits(rounded[static_cast<std::size_t>(p * n + j)]);
      }
      ASSERT_NEAR(c[static_cast<std::size_t>(i * n + j)], sum, 1e-4);
    }
  }
}

TEST_P(SimdKernelsTest, TransposesAnySize) {
  for (const auto& [m, n] : std::vector<std::array<std::int64_t, 2>>{{1, 5}, {16, 16}, {37, 70}, {64, 33}}) {
    const std::vector<float> in = random(m * n);
    std::vector<float> out(in.size());
    std::vector<Bf16Bits> in16(in.size()), out16(in.size()), rounded(in.size());
    simd_->to_bf16(m * n, in.data(), in16.data());
    simd_->transpose(m, n, in.data(), n, out.data(), m);
    simd_->transpose_bf16(m, n, in16.data(), n, out16.data(), m);
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        const auto from = static_cast<std::size_t>(i * n + j), to = static_cast<std::size_t>(j * m + i);
        ASSERT_EQ(out[to], in[from]);
        ASSERT_EQ(out16[to], in16[from]);
      }
    }
  }
}

TEST_P(SimdKernelsTest, ComputesGeluAndItsSlopeOverTheWholeRange) {
  std::vector<float> x;
  for (float v = -12.0f; v <= 12.0f; v += 0.037f) x.push_back(v);
  x.push_back(-1e4f);
  x.push_back(1e4f);
  const auto n = static_cast<std::int64_t>(x.size());
  std::vector<float> y(x.size()), slope(x.size()), ones(x.size(), 1.0f);
  simd_->gelu(n, x.data(), y.data(), nullptr);
  simd_->gelu_backward(n, ones.data(), x.data(), slope.data(), nullptr);
  const double factor = std::sqrt(2 / 3.14159265358979323846);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], t = std::tanh(factor * (v + 0.044715 * v * v * v));
    ASSERT_NEAR(y[i], 0.5 * v * (1 + t), 1e-6 * (1 + std::abs(v))) << v;
    const double exact = 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * factor * (1 + 3 * 0.044715 * v * v);
    ASSERT_NEAR(slope[i], exact, 2e-6) << v;
  }
}

}  // namespace
}  // namespace mobula::nn::kernels
