#include "mobula/nn/decoder/quantize.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "mobula/nn/layers/initialization.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {
namespace {

// What a number of a group is rounded to, by the definition.
float rounded(float x, const float* group, std::int64_t count, WeightType type) {
  const float* extreme =
      std::max_element(group, group + count, [](float a, float b) { return std::abs(a) < std::abs(b); });
  if (*extreme == 0) return 0;
  if (type == WeightType::int8) {
    const float largest = std::abs(*extreme);
    return static_cast<float>(std::lrint(x * (127.0f / largest))) * (largest / 127.0f);
  }
  return static_cast<float>(std::clamp<long>(std::lrint(x * (-8.0f / *extreme)), -8, 7)) * (*extreme / -8.0f);
}

TEST(Quantize, RoundsEveryNumberToTheNearestMultipleOfItsGroupsScale) {
  for (const WeightType type : {WeightType::int8, WeightType::int4}) {
    for (const auto& [out, in] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {5, 64}, {17, 70}, {33, 200}}) {
      at::Tensor weight = normal_tensor({out, in}, 1.0, 5, "w");
      auto* x = weight.data_ptr<float>();
      x[0] = -0.75f;
      std::fill_n(x + (out - 1) * in, std::min(in, kQuantGroup), 0.0f);  // a group of zeros
      HugePages pages;
      const at::Tensor made = to_tensor(dequantize(quantize(to_array(weight), type, pages), type, in));
      const auto* y = made.const_data_ptr<float>();
      for (std::int64_t o = 0; o < out; ++o) {
        for (std::int64_t i = 0; i < in; ++i) {
          const std::int64_t begin = i / kQuantGroup * kQuantGroup;
          ASSERT_EQ(y[o * in + i], rounded(x[o * in + i], x + o * in + begin, std::min(kQuantGroup, in - begin), type))
              << out << "x" << in << " at " << o << ", " << i;
        }
      }
    }
  }
}

TEST(Quantize, GivesTheSameBytesOnEverySetOfKernelsFromEitherType) {
  const at::Tensor weight = normal_tensor({37, 200}, 1.0, 7, "w").to(at::kBFloat16), wide = weight.to(at::kFloat);
  for (const WeightType type : {WeightType::int8, WeightType::int4}) {
    HugePages pages;
    const QuantizedWeight wanted = quantize(to_array(wide), type, pages, *find_cpu_kernels("baseline"));
    for (const char* name : {"baseline", "avx2", "avx512", "amx"}) {
      const CpuKernels* kernels = find_cpu_kernels(name);
      if (kernels == nullptr) continue;
      for (const at::Tensor& source : {weight, wide}) {
        const QuantizedWeight got = quantize(to_array(source), type, pages, *kernels);
        EXPECT_TRUE(to_tensor(got.data).equal(to_tensor(wanted.data))) << name;
        EXPECT_TRUE(to_tensor(got.scales).equal(to_tensor(wanted.scales))) << name;
      }
    }
  }
}

TEST(Quantize, ShowsANumberThatIsntFiniteInItsGroupsScale) {
  at::Tensor weight = normal_tensor({2, 128}, 1.0, 8, "w");
  weight.data_ptr<float>()[70] = std::numeric_limits<float>::infinity();
  for (const WeightType type : {WeightType::int8, WeightType::int4}) {
    HugePages pages;
    const QuantizedWeight made = quantize(to_array(weight), type, pages);
    const auto* scales = made.scales.const_data_ptr<float>();  // [group][output]
    EXPECT_TRUE(std::isnan(scales[16]));
    for (const int other : {0, 1, 17}) EXPECT_TRUE(std::isfinite(scales[other]));
  }
}

TEST(Quantize, FillsTheLastBlockUpWithZeros) {
  for (const WeightType type : {WeightType::int8, WeightType::int4}) {
    HugePages pages;
    const at::Tensor weight = normal_tensor({3, 64}, 1.0, 6, "w");
    const QuantizedWeight made = quantize(to_array(weight), type, pages);
    const auto* bytes = made.data.const_data_ptr<std::uint8_t>();
    const auto* scales = made.scales.const_data_ptr<float>();
    for (std::int64_t lane = 3; lane < 16; ++lane) {
      EXPECT_EQ(scales[lane], 0.0f);
      for (std::int64_t i = 0; i < 4; ++i) EXPECT_EQ(bytes[lane * 4 + i], type == WeightType::int8 ? 128 : 0x88);
    }
  }
}

}  // namespace
}  // namespace mobula::nn
