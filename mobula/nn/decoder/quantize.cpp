#include "mobula/nn/decoder/quantize.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "mobula/nn/parallel_for.hpp"

namespace mobula::nn {
namespace {

constexpr std::int64_t kHalf = kQuantGroup / 2;
constexpr std::int64_t kBlock = 16;  // outputs that lie together

// Returns where an input of a group and an output of a block meet in the group's bytes.
std::int64_t place_of(std::int64_t input, std::int64_t lane) {
  return (input / 4 * kBlock + lane) * 4 + input % 4;
}

}  // namespace

QuantizedWeight quantize(const Array& weight, WeightType type, HugePages& pages, const CpuKernels& kernels) {
  const bool half = weight.scalar_type() == at::kBFloat16, eight = type == WeightType::int8;
  const Array source = weight.to(half ? at::kBFloat16 : at::kFloat);
  const std::int64_t num_out = source.size(0), num_in = source.size(1);
  const std::int64_t groups = (num_in + kQuantGroup - 1) / kQuantGroup, blocks = (num_out + kBlock - 1) / kBlock;
  const std::int64_t block_bytes = (eight ? kQuantGroup : kHalf) * kBlock * groups;
  QuantizedWeight result;
  result.num_out = num_out;
  result.data = pages.empty({blocks, groups, block_bytes / groups}, at::kByte);
  result.scales = pages.empty({blocks, groups, kBlock}, at::kFloat);
  auto* data = result.data.data_ptr<std::uint8_t>();
  auto* scales = result.scales.data_ptr<float>();
  const RoundBlock round = eight ? kernels.round_to_int8 : kernels.round_to_int4;
  const auto row_bytes = num_in * static_cast<std::int64_t>(source.element_size());
  const auto* from = static_cast<const std::byte*>(source.const_data_ptr());
  parallel_for(blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      round(from + block * kBlock * row_bytes, half, std::min(kBlock, num_out - block * kBlock), num_in,
            data + block * block_bytes, scales + block * groups * kBlock);
    }
  });
  return result;
}

std::optional<WeightType> type_of(const QuantizedMatrix& matrix) {
  if (matrix.format == QuantizedFormat::nf4) return std::nullopt;
  const std::int64_t groups = matrix.scales.size(1);
  // One scale a row goes with a last group that isn't full; others must end where groups end.
  if (groups > 1 && matrix.num_in / groups % kQuantGroup != 0) return std::nullopt;
  return matrix.format == QuantizedFormat::int8 ? WeightType::int8 : WeightType::int4;
}

namespace {

// None: no kernel reads scales of that type.
std::optional<ScaleType> scale_type_of(const QuantizedMatrix& matrix) {
  switch (matrix.scales.scalar_type()) {
    case at::kFloat:
      return ScaleType::fp32;
    case at::kBFloat16:
      return ScaleType::bf16;
    case at::kHalf:
      return ScaleType::fp16;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<WeightType> stored_type_of(const QuantizedMatrix& matrix) {
  const std::optional<WeightType> type = type_of(matrix);
  if (!type || matrix.num_in % kQuantGroup != 0 || matrix.num_out % kBlock != 0 || !scale_type_of(matrix)) {
    return std::nullopt;
  }
  return *type == WeightType::int8 ? WeightType::stored_int8 : WeightType::stored_int4;
}

StoredScales stored_scales(const QuantizedMatrix& matrix) {
  const std::int64_t num_runs = matrix.scales.size(1);
  return {.data = matrix.scales.const_data_ptr(),
          .type = scale_type_of(matrix).value(),
          .num_runs = num_runs,
          .groups_each = matrix.num_in / kQuantGroup / num_runs};
}

namespace {

// fp32 [blocks, groups, 16].
Array block_scales(const QuantizedMatrix& matrix, HugePages& pages) {
  const Array& source = matrix.scales;
  const std::int64_t groups = (matrix.num_in + kQuantGroup - 1) / kQuantGroup;
  const std::int64_t blocks = (matrix.num_out + kBlock - 1) / kBlock, their_groups = source.size(1);
  const std::int64_t groups_each = (groups + their_groups - 1) / their_groups;
  Array result = pages.empty({blocks, groups, kBlock}, at::kFloat);
  auto* scales = result.data_ptr<float>();
  const auto fill = [&](const auto* theirs) {
    parallel_for(blocks, std::max<std::int64_t>(1, 4096 / groups), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t lanes = std::min(kBlock, matrix.num_out - block * kBlock);
        float* out = scales + block * groups * kBlock;
        if (lanes < kBlock) std::fill_n(out, groups * kBlock, 0.0f);
        for (std::int64_t g = 0; g < groups; ++g) {
          const auto* from = theirs + block * kBlock * their_groups + g / groups_each;
          for (std::int64_t lane = 0; lane < lanes; ++lane) {
            out[g * kBlock + lane] = static_cast<float>(from[lane * their_groups]);
          }
        }
      }
    });
  };
  if (source.scalar_type() == at::kBFloat16) {
    fill(source.const_data_ptr<at::BFloat16>());
  } else if (source.scalar_type() == at::kHalf) {
    fill(source.const_data_ptr<at::Half>());
  } else {
    const Array wide = source.to(at::kFloat);
    fill(wide.const_data_ptr<float>());
  }
  return result;
}

}  // namespace

QuantizedWeight rearrange(const QuantizedMatrix& matrix, HugePages& pages) {
  const bool eight = matrix.format == QuantizedFormat::int8;
  const std::int64_t num_out = matrix.num_out, num_in = matrix.num_in;
  const std::int64_t groups = (num_in + kQuantGroup - 1) / kQuantGroup, blocks = (num_out + kBlock - 1) / kBlock;
  const std::int64_t words = matrix.digits.size(1), group_words = eight ? kQuantGroup / 4 : kQuantGroup / 8;
  const std::int64_t group_bytes = (eight ? kQuantGroup : kHalf) * kBlock;
  QuantizedWeight result;
  result.num_out = num_out;
  result.data = pages.empty({blocks, groups, group_bytes}, at::kByte);
  result.scales = block_scales(matrix, pages);
  auto* data = result.data.data_ptr<std::uint8_t>();
  const auto* from = reinterpret_cast<const std::uint32_t*>(matrix.digits.const_data_ptr<std::int32_t>());
  const std::uint32_t zeros = eight ? 0x80808080u : 0x88888888u;
  // Four digits of 4 bits, each into a byte of its own.
  const auto spread = [](std::uint32_t half) {
    half = (half | half << 8) & 0x00FF00FFu;
    return (half | half << 4) & 0x0F0F0F0Fu;
  };
  parallel_for(blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      for (std::int64_t g = 0; g < groups; ++g) {
        std::uint8_t* out = data + (block * groups + g) * group_bytes;
        for (std::int64_t lane = 0; lane < kBlock; ++lane) {
          const std::int64_t row = block * kBlock + lane;
          std::uint32_t group[kQuantGroup / 4];
          const std::int64_t count = row < num_out ? std::min(group_words, words - g * group_words) : 0;
          std::copy_n(from + row * words + g * group_words, count, group);
          std::fill(group + count, group + group_words, zeros);
          for (std::int64_t quad = 0; quad < (eight ? 16 : 8); ++quad) {
            const std::uint32_t low = group[eight ? quad : quad / 2];
            const std::uint32_t four = eight ? low
                                             : spread(low >> quad % 2 * 16 & 0xFFFF) |
                                                   spread(group[4 + quad / 2] >> quad % 2 * 16 & 0xFFFF) << 4;
            std::memcpy(out + place_of(quad * 4, lane), &four, sizeof four);
          }
        }
      }
    }
  });
  return result;
}

Array dequantize(const QuantizedWeight& weight, WeightType type, std::int64_t num_in) {
  const std::int64_t groups = weight.scales.size(1);
  const bool eight = type == WeightType::int8;
  Array result = Array::empty({weight.num_out, num_in}, at::kFloat);
  const auto* data = weight.data.const_data_ptr<std::uint8_t>();
  const auto* scales = weight.scales.const_data_ptr<float>();
  auto* out = result.data_ptr<float>();
  for (std::int64_t row = 0; row < weight.num_out; ++row) {
    const std::int64_t block = row / kBlock, lane = row % kBlock;
    for (std::int64_t i = 0; i < num_in; ++i) {
      const std::int64_t g = block * groups + i / kQuantGroup, input = i % kQuantGroup;
      const std::uint8_t* bytes = data + g * (eight ? kQuantGroup : kHalf) * kBlock;
      const int digit = eight ? bytes[place_of(input, lane)] - 128
                              : (bytes[place_of(input % kHalf, lane)] >> (input < kHalf ? 0 : 4) & 15) - 8;
      out[row * num_in + i] = static_cast<float>(digit) * scales[g * kBlock + lane];
    }
  }
  return result;
}

}  // namespace mobula::nn
