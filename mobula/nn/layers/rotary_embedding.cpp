#include "mobula/nn/layers/rotary_embedding.hpp"

#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>

#include <utility>

namespace mobula::nn {

RotaryEmbedding::RotaryEmbedding(RotaryOptions options) : options_(std::move(options)) {
  check_rotary(options_);
}

RotaryTable RotaryEmbedding::table(const at::Tensor& positions, std::int64_t length) const {
  const at::Tensor angles =
      at::mul(positions.to(at::kFloat).unsqueeze(-1), at::tensor(rotary_frequencies(options_, length)));
  if (options_.magnitude == 1.0) return {angles.cos(), angles.sin()};
  return {at::mul(angles.cos(), options_.magnitude), at::mul(angles.sin(), options_.magnitude)};
}

at::Tensor RotaryEmbedding::turn(const at::Tensor& x_BTHD, const RotaryTable& table) const {
  // [T, R] and [B, T, R] both broadcast over the heads.
  const at::Tensor cosine = table.cosine.unsqueeze(-2);
  const at::Tensor sine = table.sine.unsqueeze(-2);
  const std::int64_t width = x_BTHD.size(-1);
  const std::int64_t half = options_.dim / 2;
  const at::Tensor turning = x_BTHD.narrow(-1, 0, options_.dim).to(at::kFloat);
  at::Tensor turned;
  if (options_.interleaved) {
    const at::Tensor pairs = turning.unflatten(-1, at::IntArrayRef({half, 2}));
    const at::Tensor even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
    turned = at::stack({at::sub(at::mul(even, cosine), at::mul(odd, sine)),
                        at::add(at::mul(odd, cosine), at::mul(even, sine))},
                       -1)
                 .flatten(-2);
  } else {
    const at::Tensor first = turning.narrow(-1, 0, half), second = turning.narrow(-1, half, half);
    turned = at::cat({at::sub(at::mul(first, cosine), at::mul(second, sine)),
                      at::add(at::mul(second, cosine), at::mul(first, sine))},
                     -1);
  }
  turned = turned.to(x_BTHD.scalar_type());
  if (width == options_.dim) return turned;
  return at::cat({turned, x_BTHD.narrow(-1, options_.dim, width - options_.dim)}, -1);
}

}  // namespace mobula::nn
