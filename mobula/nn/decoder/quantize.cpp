#include "mobula/nn/decoder/quantize.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace mobula::nn {
namespace {

constexpr std::int64_t kHalf = kQuantGroup / 2;

void quantize_group_8(const float* x, std::int64_t count, std::uint8_t* out, float& scale) {
  float largest = 0;
  for (std::int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[i]));
  scale = largest / 127.0f;
  const float inverse = largest > 0 ? 127.0f / largest : 0.0f;
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<std::uint8_t>(128 + std::lrint(x[i] * inverse));
}

void quantize_group_4(const float* x, std::int64_t count, std::uint8_t* out, float& scale) {
  float extreme = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
  }
  scale = extreme / -8.0f;
  const float inverse = extreme != 0 ? -8.0f / extreme : 0.0f;
  const auto digit = [&](std::int64_t i) -> unsigned {
    return i < count ? static_cast<unsigned>(std::clamp<long>(8 + std::lrint(x[i] * inverse), 0, 15)) : 8;
  };
  for (std::int64_t i = 0; i < kHalf; ++i) out[i] = static_cast<std::uint8_t>(digit(i) | digit(i + kHalf) << 4);
}

}  // namespace

QuantizedWeight quantize(const at::Tensor& weight, WeightType type) {
  const at::Tensor source = weight.detach().contiguous();
  const std::int64_t num_out = source.size(0), num_in = source.size(1);
  const std::int64_t groups = (num_in + kQuantGroup - 1) / kQuantGroup;
  const std::int64_t group_bytes = type == WeightType::int8 ? kQuantGroup : kHalf;
  QuantizedWeight result;
  result.data = at::full({num_out, groups * group_bytes}, 128, at::TensorOptions().dtype(at::kByte));
  result.scales = at::empty({num_out, groups}, at::TensorOptions().dtype(at::kFloat));
  auto* data = result.data.data_ptr<std::uint8_t>();
  auto* scales = result.scales.data_ptr<float>();
  at::parallel_for(0, num_out, 16, [&](std::int64_t begin, std::int64_t end) {
    // A few rows at a time are widened, so that the whole matrix never is.
    const at::Tensor rows = source.narrow(0, begin, end - begin).to(at::kFloat);
    const auto* x = rows.const_data_ptr<float>();
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t g = 0; g < groups; ++g) {
        const float* group = x + (row - begin) * num_in + g * kQuantGroup;
        const std::int64_t count = std::min(kQuantGroup, num_in - g * kQuantGroup);
        std::uint8_t* out = data + (row * groups + g) * group_bytes;
        float& scale = scales[row * groups + g];
        type == WeightType::int8 ? quantize_group_8(group, count, out, scale)
                                 : quantize_group_4(group, count, out, scale);
      }
    }
  });
  return result;
}

at::Tensor dequantize(const QuantizedWeight& weight, WeightType type, std::int64_t num_in) {
  const std::int64_t num_out = weight.scales.size(0), groups = weight.scales.size(1);
  at::Tensor result = at::empty({num_out, num_in}, at::TensorOptions().dtype(at::kFloat));
  const auto* data = weight.data.const_data_ptr<std::uint8_t>();
  const auto* scales = weight.scales.const_data_ptr<float>();
  auto* out = result.data_ptr<float>();
  for (std::int64_t row = 0; row < num_out; ++row) {
    for (std::int64_t i = 0; i < num_in; ++i) {
      const std::int64_t g = row * groups + i / kQuantGroup, place = i % kQuantGroup;
      const int digit = type == WeightType::int8
                            ? data[g * kQuantGroup + place] - 128
                            : (data[g * kHalf + place % kHalf] >> (place < kHalf ? 0 : 4) & 15) - 8;
      out[row * num_in + i] = static_cast<float>(digit) * scales[g];
    }
  }
  return result;
}

}  // namespace mobula::nn
