#include "mobula/train/tensor_codec.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace mobula {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::uint8_t kUndefined = 255;
constexpr std::uint8_t kMaxDimensions = 64;

void require_dense(const at::Tensor& tensor) {
  if (tensor.device().is_cpu() && tensor.layout() == at::kStrided && !tensor.is_quantized()) return;
  throw Error(
      ErrorCode::unsupported,
      fmt::format("a {} tensor on {} can't be sent to another process", tensor.toString(), tensor.device().str()),
      "send a dense tensor on the CPU: tensor.cpu(), tensor.to_dense(), tensor.dequantize()");
}

/// Reads the sizes and returns how many bytes such a tensor holds; throws Error(corrupt) where no tensor does.
std::size_t decode_sizes(WireReader& in, std::size_t element_size, std::vector<std::int64_t>& sizes) {
  std::uint64_t bytes = element_size;
  for (auto& size : sizes) {
    size = in.number<std::int64_t>();
    if (size < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) {
      throw Error(ErrorCode::corrupt, fmt::format("encoded tensor claims a dimension of {}", size));
    }
  }
  return bytes;
}

}  // namespace

void Codec<at::Tensor>::encode(WireWriter& out, const at::Tensor& tensor) {
  if (!tensor.defined()) {
    out.number(kUndefined);
    return;
  }
  require_dense(tensor);
  out.number(static_cast<std::uint8_t>(tensor.scalar_type()));
  out.number(static_cast<std::uint8_t>(tensor.dim()));
  for (const auto size : tensor.sizes()) out.number<std::int64_t>(size);
  out.align(kAlignment);
  if (out.counting() || tensor.is_contiguous()) {
    out.raw(tensor.const_data_ptr(), tensor.nbytes());
  } else {
    const at::Tensor together = tensor.detach().contiguous();
    out.raw(together.const_data_ptr(), together.nbytes());
  }
}

at::Tensor Codec<at::Tensor>::decode(WireReader& in) {
  const auto code = in.number<std::uint8_t>();
  if (code == kUndefined) return {};
  const auto dimensions = in.number<std::uint8_t>();
  const auto type = static_cast<at::ScalarType>(code);
  if (code >= static_cast<std::uint8_t>(at::ScalarType::Undefined) || c10::isQIntType(type) ||
      dimensions > kMaxDimensions) {
    throw Error(ErrorCode::corrupt, fmt::format("encoded tensor claims type {} and {} dimensions", code, dimensions));
  }
  std::vector<std::int64_t> sizes(dimensions);
  const std::size_t bytes = decode_sizes(in, c10::elementSize(type), sizes);
  in.align();
  const char* data = in.take(bytes);
  if (in.read_only() && bytes != 0 && reinterpret_cast<std::uintptr_t>(data) % c10::elementSize(type) == 0) {
    if (auto keeper = in.keeper()) {
      // NOLINTNEXTLINE: torch has no tensors of constant bytes; a View gives this one out as constant
      return at::from_blob(
          const_cast<char*>(data), sizes, [kept = std::move(keeper)](void*) {}, at::dtype(type));
    }
  }
  at::Tensor tensor = at::empty(sizes, at::dtype(type));
  if (bytes != 0) std::memcpy(tensor.mutable_data_ptr(), data, bytes);
  return tensor;
}

}  // namespace mobula
