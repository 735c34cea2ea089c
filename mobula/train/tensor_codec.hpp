/// Tensors as arguments and results of tasks and actors. Include it where such tasks are called:
///
///     at::Tensor step(View<at::Tensor> weights, at::Tensor gradient);
///     auto next = rt.with(TaskOptions{.isolation = Isolation::process}).remote<step>(weights, gradient);
///
/// Threads share a tensor; get() and plain parameters in other processes make one of their own; View<at::Tensor> looks at
/// it where it lies in shared memory, without a copy: don't write to that one.
#pragma once

#include <ATen/core/Tensor.h>

#include "mobula/core/codec.hpp"

/// Dense tensors of any type and shape on the CPU, also undefined ones. Strides and autograd's history stay behind: what
/// arrives is contiguous and requires no gradient. Throws Error(unsupported) for tensors of other devices and layouts.
template <>
struct mobula::Codec<at::Tensor> {
  static constexpr bool kBorrows = true;
  static void encode(WireWriter& out, const at::Tensor& tensor);
  static at::Tensor decode(WireReader& in);
};
