#include "mobula/nn/decoder/cpu_kernels.hpp"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"
#include "mobula/nn/decoder/quantize.hpp"
#include "mobula/nn/layers/initialization.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::nn {
namespace {

std::vector<float> random_floats(std::size_t count, std::uint64_t stream) {
  Random random(11, stream);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(random.normal());
  return values;
}

std::uint16_t to_bf16(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, 4);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float from_bf16(std::uint16_t half) {
  const std::uint32_t bits = std::uint32_t{half} << 16;
  float x = 0;
  std::memcpy(&x, &bits, 4);
  return x;
}

// Every set of kernels that this machine can run.
class EveryCpuKernels : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    kernels_ = find_cpu_kernels(GetParam());
    if (kernels_ == nullptr) GTEST_SKIP() << "this machine can't run " << GetParam();
  }

  std::vector<float> multiply(WeightType type, const std::vector<float>& x, std::int64_t rows, const WeightView& weight,
                              std::int64_t begin, std::int64_t end) const {
    const MatmulKernel& kernel = kernels_->matmul[static_cast<int>(type)];
    std::vector<std::byte> packed(kernel.packed_bytes(rows, weight.num_in));
    kernel.pack(x.data(), weight.num_in, rows, weight.num_in, packed.data());
    std::vector<float> y(static_cast<std::size_t>(rows * weight.num_out), -1.0f);
    kernel.run(packed.data(), rows, weight, begin, end, y.data(), weight.num_out);
    return y;
  }

  const CpuKernels* kernels_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Sets, EveryCpuKernels, testing::Values("baseline", "avx2", "avx512", "amx"),
                         [](const auto& info) { return std::string(info.param); });

struct Shape {
  std::int64_t rows, in, out;
};

TEST_P(EveryCpuKernels, MultipliesOddShapesAsInDoublePrecision) {
  for (const auto& [rows, in, out] : {Shape{1, 1, 1},
                                      {1, 16, 7},
                                      {3, 33, 19},
                                      {5, 64, 32},
                                      {17, 96, 40},
                                      {37, 131, 65},
                                      {64, 256, 100},
                                      {70, 1100, 50}}) {
    const auto x = random_floats(static_cast<std::size_t>(rows * in), 1);
    const auto w = random_floats(static_cast<std::size_t>(out * in), 2);
    const auto bias = random_floats(static_cast<std::size_t>(out), 3);
    std::vector<std::uint16_t> half(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) half[i] = to_bf16(w[i]);
    const WeightView single{.data = w.data(), .bias = bias.data(), .num_out = out, .num_in = in};
    const WeightView rounded{.data = half.data(), .bias = bias.data(), .num_out = out, .num_in = in};
    const auto y = multiply(WeightType::fp32, x, rows, single, 0, out);
    const auto z = multiply(WeightType::bf16, x, rows, rounded, 0, out);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t o = 0; o < out; ++o) {
        double exact = bias[o], exact_half = bias[o], size = 0;
        for (std::int64_t i = 0; i < in; ++i) {
          exact += static_cast<double>(x[r * in + i]) * w[o * in + i];
          exact_half += static_cast<double>(from_bf16(to_bf16(x[r * in + i]))) * from_bf16(half[o * in + i]);
          size += std::abs(static_cast<double>(x[r * in + i]) * w[o * in + i]);
        }
        ASSERT_NEAR(y[r * out + o], exact, 1e-6 * (size + 1)) << rows << "x" << in << "x" << out;
        ASSERT_NEAR(z[r * out + o], exact_half, 1e-6 * (size + 1)) << rows << "x" << in << "x" << out;
      }
    }
  }
}

TEST_P(EveryCpuKernels, GivesARowTheSameBitsAloneInABatchAndInPartsOfTheOutputs) {
  constexpr std::int64_t kRows = 37, kIn = 100, kOut = 90;
  const auto x = random_floats(kRows * kIn, 4);
  const auto w = random_floats(kOut * kIn, 5);
  std::vector<std::uint16_t> half(w.size());
  for (std::size_t i = 0; i < w.size(); ++i) half[i] = to_bf16(w[i]);
  for (const WeightType type : {WeightType::fp32, WeightType::bf16}) {
    const WeightView weight{.data = type == WeightType::fp32 ? static_cast<const void*>(w.data()) : half.data(),
                            .num_out = kOut,
                            .num_in = kIn};
    const auto all = multiply(type, x, kRows, weight, 0, kOut);
    for (std::int64_t r = 0; r < kRows; ++r) {
      const std::vector<float> row(x.begin() + r * kIn, x.begin() + (r + 1) * kIn);
      const auto left = multiply(type, row, 1, weight, 0, 32), right = multiply(type, row, 1, weight, 32, kOut);
      ASSERT_EQ(0, std::memcmp(left.data(), all.data() + r * kOut, 32 * sizeof(float)));
      ASSERT_EQ(0, std::memcmp(right.data() + 32, all.data() + r * kOut + 32, (kOut - 32) * sizeof(float)));
    }
  }
}

TEST_P(EveryCpuKernels, MultipliesWeightsOf8And4BitsAsTheirRoundedValues) {
  for (const WeightType type : {WeightType::int8, WeightType::int4}) {
    for (const auto& [rows, in, out] : {Shape{1, 1, 1}, {1, 64, 9}, {5, 100, 7}, {9, 256, 33}, {37, 100, 150}}) {
      const auto x = random_floats(static_cast<std::size_t>(rows * in), 20);
      const at::Tensor w = normal_tensor({out, in}, 1.0, 3, "w");
      const auto bias = random_floats(static_cast<std::size_t>(out), 21);
      HugePages pages;
      const QuantizedWeight quantized = quantize(to_array(w), type, pages);
      const at::Tensor exact = to_tensor(dequantize(quantized, type, in));
      // Rounding loses at most half a step of the group's scale, and int4 one step where the far end is cut.
      const double step = to_tensor(quantized.scales).abs().max().item<double>();
      EXPECT_LE(w.sub(exact).abs().max().item<double>(), (type == WeightType::int8 ? 0.5001 : 1.0001) * step);
      const WeightView view{.data = quantized.data.const_data_ptr(),
                            .scales = quantized.scales.const_data_ptr<float>(),
                            .bias = bias.data(),
                            .num_out = out,
                            .num_in = in};
      const auto y = multiply(type, x, rows, view, 0, out);
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::vector<float> row(x.begin() + r * in, x.begin() + (r + 1) * in);
        const auto alone = multiply(type, row, 1, view, 0, out);
        ASSERT_EQ(0, std::memcmp(alone.data(), y.data() + r * out, static_cast<std::size_t>(out) * sizeof(float)));
        for (std::int64_t o = 0; o < out; ++o) {
          double wanted = bias[o], size = 0;
          for (std::int64_t i = 0; i < in; ++i) {
            const double weight = exact.const_data_ptr<float>()[o * in + i];
            wanted += x[r * in + i] * weight;
            size += weight * weight;
          }
          // x itself is rounded to 8 bits of its group's largest, which is below 4.5.
          ASSERT_NEAR(y[r * out + o], wanted, 4.5 / 254 * 4 * std::sqrt(size) + 1e-5)
              << rows << "x" << in << "x" << out;
        }
      }
    }
  }
}

TEST_P(EveryCpuKernels, AddsProductsOf8And4BitsUpExactly) {
  // x of whole numbers up to 127 is met exactly, so the result is that of integers.
  constexpr std::int64_t kIn = 192, kOut = 6;
  std::vector<float> x(kIn);
  for (std::int64_t i = 0; i < kIn; ++i) x[i] = static_cast<float>(i % 64 == 0 ? 127 : (i * 37) % 255 - 127);
  for (const WeightType type : {WeightType::int8, WeightType::int4}) {
    HugePages pages;
    const QuantizedWeight quantized = quantize(to_array(normal_tensor({kOut, kIn}, 1.0, 4, "w")), type, pages);
    const at::Tensor exact = to_tensor(dequantize(quantized, type, kIn));
    const WeightView view{.data = quantized.data.const_data_ptr(),
                          .scales = quantized.scales.const_data_ptr<float>(),
                          .num_out = kOut,
                          .num_in = kIn};
    const auto y = multiply(type, x, 1, view, 0, kOut);
    for (std::int64_t o = 0; o < kOut; ++o) {
      double wanted = 0;
      for (std::int64_t i = 0; i < kIn; ++i) wanted += x[i] * exact[o][i].item<double>();
      ASSERT_NEAR(y[o], wanted, 2e-6 * 127 * kIn);
    }
  }
}

// A matrix as a checkpoint has it: any digits, `num_runs` scales an output of a type, among them ones that aren't normal numbers.
QuantizedMatrix stored_matrix(QuantizedFormat format, const Shape& shape, std::int64_t num_runs, at::ScalarType type) {
  Random random(17, static_cast<std::uint64_t>(shape.in + num_runs));
  const std::int64_t words = shape.in / (format == QuantizedFormat::int8 ? 4 : 8);
  QuantizedMatrix matrix;
  matrix.format = format;
  matrix.num_out = shape.out;
  matrix.num_in = shape.in;
  matrix.type = type;
  matrix.digits = Array::empty({shape.out, words}, at::kInt);
  auto* digits = matrix.digits.data_ptr<std::int32_t>();
  for (std::int64_t i = 0; i < matrix.digits.numel(); ++i) {
    digits[i] = static_cast<std::int32_t>(random.below(std::uint64_t{1} << 32));
  }
  std::fill_n(digits, words, 0);
  std::fill_n(digits + words, words, -1);
  at::Tensor scales = normal_tensor({shape.out, num_runs}, 1.0, 32, "scales");
  auto* numbers = scales.data_ptr<float>();
  numbers[0] = 0x1p-20f;  // below the normal numbers of 16 bits
  numbers[scales.numel() - 1] = std::numeric_limits<float>::infinity();
  numbers[scales.numel() - num_runs - 1] = std::numeric_limits<float>::quiet_NaN();
  matrix.scales = to_array(scales.to(type));
  return matrix;
}

TEST_P(EveryCpuKernels, MultipliesStoredWeightsToTheBitAsThoseLaidOutForIt) {
  const auto check = [&](QuantizedFormat format, const Shape& shape, std::int64_t num_runs, at::ScalarType scales) {
    const auto& [rows, in, out] = shape;
    auto x = random_floats(static_cast<std::size_t>(rows * in), 30);
    std::fill_n(x.begin(), std::min<std::int64_t>(in, 64),
                3.0f);  // with the digits of the first two outputs, the largest sums
    const auto bias = random_floats(static_cast<std::size_t>(out), 31);
    const QuantizedMatrix matrix = stored_matrix(format, shape, num_runs, scales);
    const std::optional<WeightType> type = type_of(matrix), stored = stored_type_of(matrix);
    ASSERT_TRUE(type && stored);
    HugePages pages;
    const QuantizedWeight laid_out = rearrange(matrix, pages);
    const WeightView one{.data = laid_out.data.const_data_ptr(),
                         .scales = laid_out.scales.const_data_ptr<float>(),
                         .bias = bias.data(),
                         .num_out = out,
                         .num_in = in};
    const WeightView other{.data = matrix.digits.const_data_ptr(),
                           .stored_scales = stored_scales(matrix),
                           .bias = bias.data(),
                           .num_out = out,
                           .num_in = in};
    const auto wanted = multiply(*type, x, rows, one, 0, out), got = multiply(*stored, x, rows, other, 0, out);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (std::isnan(wanted[i]) && std::isnan(got[i])) continue;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(wanted[i]))
          << nn::to_string(format) << ", " << rows << "x" << in << "x" << out << " at " << i << ", " << num_runs
          << " scales of " << c10::toString(scales);
    }
  };
  for (const QuantizedFormat format : {QuantizedFormat::int8, QuantizedFormat::int4}) {
    for (const Shape& shape : {Shape{1, 64, 16},
                               {1, 1088, 48},
                               {1, 2880, 32},
                               {2, 128, 32},
                               {3, 1088, 16},
                               {4, 192, 64},
                               {5, 576, 32},
                               {8, 1024, 48},
                               {9, 320, 16},
                               {15, 192, 96},
                               {16, 64, 16},
                               {17, 320, 80},
                               {22, 1152, 160},
                               {38, 448, 160}}) {
      check(format, shape, shape.in / 64, at::kBFloat16);
    }
    for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
      for (const std::int64_t rows : {1, 6, 19}) {
        for (const std::int64_t num_runs : {1, 5, 20}) check(format, {rows, 1280, 48}, num_runs, type);
      }
    }
  }
}

TEST(StoredWeights, RunWhereTheyLieOnlyInWholeGroupsAndBlocks) {
  const auto stored = [](std::int64_t out, std::int64_t in, QuantizedFormat format) {
    return stored_type_of(quantize_matrix(to_array(normal_tensor({out, in}, 1.0, 33, "w")), format));
  };
  EXPECT_EQ(stored(32, 128, QuantizedFormat::int8), WeightType::stored_int8);
  EXPECT_EQ(stored(32, 128, QuantizedFormat::int4), WeightType::stored_int4);
  EXPECT_EQ(stored(33, 128, QuantizedFormat::int4), std::nullopt);
  EXPECT_EQ(stored(32, 128, QuantizedFormat::nf4), std::nullopt);
  QuantizedMatrix double_scales =
      quantize_matrix(to_array(normal_tensor({32, 128}, 1.0, 33, "w")), QuantizedFormat::int8);
  double_scales.scales = double_scales.scales.to(at::kDouble);
  EXPECT_EQ(stored_type_of(double_scales), std::nullopt);
}

float widened(std::uint16_t half) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
}

// A head's keys and values at positions [0, count), in blocks as the cache has them.
struct KeysAndValues {
  static constexpr std::int64_t kOffset = 32;

  KeysAndValues(KvType type, std::int64_t count, std::int64_t dim) : type(type), dim(dim) {
    const auto rounded = [](std::vector<float> numbers) {
      for (float& x : numbers) x = widened(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16));
      return numbers;
    };
    keys = rounded(random_floats(static_cast<std::size_t>(count * dim), 6));
    values = rounded(random_floats(static_cast<std::size_t>(count * dim), 7));
    // What nothing was written to is NaN in fp32, all bits set, and 0 in bf16.
    const std::size_t block_bytes = static_cast<std::size_t>(kOffset + 2 * padded() * kKvBlock) * width();
    blocks.assign(static_cast<std::size_t>((count + kKvBlock - 1) / kKvBlock),
                  std::vector<std::uint8_t>(block_bytes, type == KvType::bf16 ? 0 : 0xFF));
    for (const auto& block : blocks) addresses.push_back(block.data());
    for (std::int64_t p = 0; p < count; ++p) {
      for (std::int64_t d = 0; d < dim; ++d) {
        put_key(p, d, keys[p * dim + d]);
        put_value(p, d, values[p * dim + d]);
      }
    }
  }

  std::int64_t padded() const { return (dim + 15) / 16 * 16; }
  std::size_t width() const { return type == KvType::bf16 ? 2 : 4; }
  void put(std::int64_t position, std::int64_t at, float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const auto half = static_cast<std::uint16_t>(bits >> 16);
    std::uint8_t* place =
        blocks[static_cast<std::size_t>(position / kKvBlock)].data() + static_cast<std::size_t>(kOffset + at) * width();
    width() == 2 ? std::memcpy(place, &half, 2) : std::memcpy(place, &bits, 4);
  }
  void put_key(std::int64_t p, std::int64_t d, float x) {
    const std::int64_t slot = p % kKvBlock;
    put(p, type == KvType::bf16 ? (d / 2 * kKvBlock + slot) * 2 + d % 2 : d * kKvBlock + slot, x);
  }
  void put_value(std::int64_t p, std::int64_t d, float x) {
    const std::int64_t slot = p % kKvBlock, begin = padded() * kKvBlock;
    put(p, begin + (type == KvType::bf16 ? (slot / 2 * padded() + d) * 2 + slot % 2 : slot * padded() + d), x);
  }

  KvType type;
  std::int64_t dim;
  std::vector<float> keys, values;
  std::vector<std::vector<std::uint8_t>> blocks;
  std::vector<const void*> addresses;
};

// Attention over 70 positions by its definition, on numbers that bfloat16 holds exactly.
void expect_attention(const CpuKernels& kernels, KvType type, std::int64_t dim, std::int64_t num_heads, float slope) {
  constexpr std::int64_t kPositions = 70;
  const KeysAndValues kv(type, kPositions, dim);
  const auto query = random_floats(static_cast<std::size_t>(num_heads * dim), 8);
  for (const auto& [first, last] :
       {std::pair<std::int64_t, std::int64_t>{0, 0}, {0, 31}, {0, 69}, {33, 64}, {69, 69}}) {
    for (const float softcap : {0.0f, 2.0f}) {
      std::vector<float> out(query.size());
      kernels.attend({.query = query.data(),
                      .out = out.data(),
                      .num_query_heads = num_heads,
                      .head_dim = dim,
                      .scale = 0.3f,
                      .softcap = softcap,
                      .alibi_slope = slope,
                      .type = type,
                      .blocks = kv.addresses.data(),
                      .offset = KeysAndValues::kOffset,
                      .last = last,
                      .window = first > 0 ? last - first + 1 : 0});
      for (std::int64_t h = 0; h < num_heads; ++h) {
        std::vector<double> weight, exact(static_cast<std::size_t>(dim));
        double total = 0;
        for (std::int64_t p = first; p <= last; ++p) {
          double score = 0;
          for (std::int64_t d = 0; d < dim; ++d) {
            score += static_cast<double>(query[h * dim + d]) * kv.keys[p * dim + d];
          }
          score *= 0.3f;
          if (softcap > 0) score = softcap * std::tanh(score / softcap);
          weight.push_back(std::exp(score - static_cast<double>(slope) * static_cast<double>(last - p)));
          total += weight.back();
        }
        for (std::int64_t d = 0; d < dim; ++d) {
          for (std::int64_t p = first; p <= last; ++p) exact[d] += weight[p - first] / total * kv.values[p * dim + d];
          ASSERT_NEAR(out[h * dim + d], exact[d], 1e-4) << dim << " " << first << " " << last;
        }
      }
    }
  }
}

TEST_P(EveryCpuKernels, AttendsAsTheDefinitionSays) {
  for (const KvType type : {KvType::fp32, KvType::bf16}) {
    for (const std::int64_t dim : {5, 16, 64, 80}) {
      for (const std::int64_t num_heads : {1, 2, 3, 9}) expect_attention(*kernels_, type, dim, num_heads, 0.01f);
      expect_attention(*kernels_, type, dim, 2, 0.0f);
    }
  }
}

TEST_P(EveryCpuKernels, AttendsToTheSameBitsRowByRowAndTogether) {
  constexpr std::int64_t kPositions = 100, kRows = 67;
  for (const KvType type : {KvType::fp32, KvType::bf16}) {
    for (const std::int64_t dim : {12, 64}) {
      KeysAndValues kv(type, kPositions, dim);
      // What earlier rows must not see must not reach them.
      kv.put_value(97, dim - 1, std::numeric_limits<float>::infinity());
      kv.put_value(98, 3, std::numeric_limits<float>::quiet_NaN());
      for (const std::int64_t num_heads : {1, 3, 20}) {
        for (const std::int64_t window : {0, 1, 40}) {
          const std::int64_t width = num_heads * dim;
          const auto query = random_floats(static_cast<std::size_t>(kRows * width), 9);
          std::vector<float> together(query.size()), alone(query.size());
          AttentionTask task{.query = query.data(),
                             .out = together.data(),
                             .num_rows = kRows,
                             .query_stride = width,
                             .out_stride = width,
                             .num_query_heads = num_heads,
                             .head_dim = dim,
                             .scale = 0.2f,
                             .type = type,
                             .blocks = kv.addresses.data(),
                             .offset = KeysAndValues::kOffset,
                             .last = kPositions - kRows,
                             .window = window};
          kernels_->attend(task);
          for (std::int64_t r = 0; r < kRows; ++r) {
            AttentionTask one = task;
            one.query += r * width;
            one.out = alone.data() + r * width;
            one.num_rows = 1;
            one.last += r;
            kernels_->attend(one);
          }
          ASSERT_EQ(0, std::memcmp(together.data(), alone.data(), alone.size() * sizeof(float)));
          for (std::int64_t i = 0; i < (97 - task.last) * width; ++i) ASSERT_TRUE(std::isfinite(alone[i]));
        }
      }
    }
  }
}

TEST_P(EveryCpuKernels, NormalisesRows) {
  for (const std::int64_t n : {1, 15, 16, 50, 333}) {
    const auto x = random_floats(static_cast<std::size_t>(n), 9),
               weight = random_floats(static_cast<std::size_t>(n), 10),
               bias = random_floats(static_cast<std::size_t>(n), 12);
    std::vector<float> layer(x.size()), rms(x.size());
    kernels_->layer_norm(x.data(), weight.data(), bias.data(), n, 1e-5f, layer.data());
    kernels_->rms_norm(x.data(), weight.data(), 1.0f, n, 1e-5f, rms.data());
    double mean = 0, variance = 0, squares = 0;
    for (const float v : x) mean += v / static_cast<double>(n);
    for (const float v : x) variance += (v - mean) * (v - mean) / static_cast<double>(n);
    for (const float v : x) squares += static_cast<double>(v) * v / static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i) {
      ASSERT_NEAR(layer[i], (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i], 1e-5);
      ASSERT_NEAR(rms[i], x[i] / std::sqrt(squares + 1e-5) * (weight[i] + 1.0), 1e-5);
    }
  }
}

TEST_P(EveryCpuKernels, ActivatesAsTheStandardLibraryWould) {
  std::vector<float> x;
  for (float v = -20; v <= 20; v += 0.37f) x.push_back(v);
  const auto check = [&](Activation activation, auto exact) {
    std::vector<float> y = x;
    kernels_->activate(activation, y.data(), static_cast<std::int64_t>(y.size()));
    for (std::size_t i = 0; i < x.size(); ++i)
      ASSERT_NEAR(y[i], exact(static_cast<double>(x[i])), 1e-6 * (1 + std::abs(x[i]))) << x[i];
  };
  check(Activation::gelu, [](double v) { return 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))); });
  check(Activation::gelu_tanh,
        [](double v) { return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v))); });
  check(Activation::quick_gelu, [](double v) { return v / (1 + std::exp(-1.702 * v)); });
  check(Activation::relu, [](double v) { return v > 0 ? v : 0; });
  check(Activation::silu, [](double v) { return v / (1 + std::exp(-v)); });
}

TEST_P(EveryCpuKernels, AddsExponentialsUpWithoutOverflow) {
  std::vector<float> x = random_floats(5000, 13);
  double total = 0;
  for (float& v : x) {
    v += 1000;
    total += std::exp(static_cast<double>(v) - 1000);
  }
  EXPECT_NEAR(kernels_->log_sum_exp(x.data(), 5000), 1000 + std::log(total), 1e-6);
  x[7] = -std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isfinite(kernels_->log_sum_exp(x.data(), 5000)));
  x[7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(std::isfinite(kernels_->log_sum_exp(x.data(), 5000)));
}

TEST(CpuKernels, AreFoundByNameOrNotAtAll) {
  EXPECT_NE(find_cpu_kernels("baseline"), nullptr);
  EXPECT_EQ(find_cpu_kernels("sse9"), nullptr);
  EXPECT_FALSE(cpu_kernels().name.empty());
}

}  // namespace
}  // namespace mobula::nn
