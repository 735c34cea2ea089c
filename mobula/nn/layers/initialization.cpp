#include "mobula/nn/layers/initialization.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "mobula/base/random.hpp"

namespace mobula::nn {
namespace {

// FNV-1a, 64 bits.
std::uint64_t hash_name(std::string_view name) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return hash;
}

}  // namespace

at::Tensor normal_tensor(at::IntArrayRef shape, double standard_deviation, std::uint64_t seed, std::string_view name) {
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  float* values = tensor.data_ptr<float>();
  const std::uint64_t stream = hash_name(name);
  at::parallel_for(0, tensor.numel(), 4096, [&](std::int64_t begin, std::int64_t end) {
    Random random(seed, stream);
    random.seek(static_cast<std::uint64_t>(begin) * 2);  // normal() takes two draws
    for (std::int64_t i = begin; i < end; ++i) values[i] = static_cast<float>(random.normal() * standard_deviation);
  });
  return tensor;
}

}  // namespace mobula::nn
