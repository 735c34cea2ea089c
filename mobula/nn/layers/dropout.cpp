#include "mobula/nn/layers/dropout.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>

#include <algorithm>
#include <cmath>

#include "mobula/base/random.hpp"

namespace mobula::nn {
namespace {

constexpr std::int64_t kBlock = 1024;

// Fills [begin, end) of a mask; element i is decided by word i % 4 of the Philox block i / 4 of (stream,
// site).
template <class T>
void fill_mask(T* out, std::int64_t begin, std::int64_t end, std::uint32_t threshold, T kept, std::uint32_t site,
               std::uint64_t seed, std::uint64_t stream) {
  const std::array<std::uint32_t, 2> key = {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
  const T dropped = static_cast<T>(0.0f);
  for (std::int64_t i = begin; i < end; i += 4) {
    // The third word of the counter holds the site, the fourth folds the stream into 32 bits.
    const auto words = philox({static_cast<std::uint32_t>(i / 4), static_cast<std::uint32_t>(stream), site,
                               static_cast<std::uint32_t>(stream >> 32) ^ static_cast<std::uint32_t>((i / 4) >> 32)},
                              key);
    const std::int64_t count = std::min<std::int64_t>(4, end - i);
    for (std::int64_t j = 0; j < count; ++j) out[i + j] = words[j] < threshold ? dropped : kept;
  }
}

}  // namespace

at::Tensor DropoutStream::mask(const at::Tensor& like, double p) {
  const std::uint32_t site = num_sites_++;
  at::Tensor mask = at::empty(like.sizes(), like.options().requires_grad(false));
  const auto threshold = static_cast<std::uint32_t>(std::min<std::int64_t>(std::llround(p * 4294967296.0), 4294967295));
  const float kept = static_cast<float>(1.0 / (1.0 - p));
  const std::int64_t num_blocks = (mask.numel() + kBlock - 1) / kBlock;
  at::parallel_for(0, num_blocks, 16, [&](std::int64_t first, std::int64_t last) {
    const std::int64_t begin = first * kBlock;
    const std::int64_t end = std::min(last * kBlock, mask.numel());
    if (mask.scalar_type() == at::kBFloat16) {
      fill_mask(mask.data_ptr<at::BFloat16>(), begin, end, threshold, at::BFloat16(kept), site, seed_, stream_);
    } else {
      fill_mask(mask.data_ptr<float>(), begin, end, threshold, kept, site, seed_, stream_);
    }
  });
  return mask;
}

at::Tensor dropout(const at::Tensor& x, double p, DropoutStream& stream) {
  if (p == 0.0) return x;
  return at::mul(x, stream.mask(x, p));
}

}  // namespace mobula::nn
