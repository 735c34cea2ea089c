#include "mobula/train/optimizer/adamw.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/train/collective/sum.hpp"
#include "mobula/train/collective/vector_clones.hpp"

namespace mobula::train {
namespace {

/// Elements a thread takes at a time: 64 KiB of each of four arrays.
constexpr std::int64_t kChunk = 16384;

struct StepConstants {
  float decay;  // 1 - lr * weight_decay
  float beta1;
  float beta2;
  float step_size;     // lr / (1 - beta1^t)
  float inverse_root;  // 1 / sqrt(1 - beta2^t)
  float epsilon;
  float scale;
};

MOBULA_VECTOR_CLONES void update(float* value, float* mean, float* square, const float* gradient, std::int64_t count,
                                 const StepConstants& k) {
  // Copies: the compiler can't know that the constants don't lie in the arrays.
  const float decay = k.decay, beta1 = k.beta1, beta2 = k.beta2, step_size = k.step_size;
  const float inverse_root = k.inverse_root, epsilon = k.epsilon, scale = k.scale;
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * scale;
    const float m = mean[i] + (1 - beta1) * (g - mean[i]);
    const float v = beta2 * square[i] + (1 - beta2) * g * g;
    mean[i] = m;
    square[i] = v;
    value[i] = value[i] * decay - step_size * m / (std::sqrt(v) * inverse_root + epsilon);
  }
}

}  // namespace

AdamW::AdamW(const std::vector<nn::NamedTensor>& parameters, AdamWOptions options) : options_(options) {
  for (const auto& [name, tensor] : parameters) {
    if (tensor.scalar_type() != at::kFloat || !tensor.is_contiguous() || !tensor.is_cpu()) {
      throw_internal(fmt::format("parameter {} is no contiguous fp32 tensor on the CPU", name));
    }
    const at::Tensor value = tensor.detach();
    for (std::int64_t begin = 0; begin < value.numel(); begin += kChunk) {
      chunks_.push_back({parameters_.size(), begin, std::min(begin + kChunk, value.numel())});
    }
    parameters_.push_back({name, value, at::zeros_like(value), at::zeros_like(value), value.dim() >= 2});
  }
}

double AdamW::sum_of_squares(std::span<const float* const> gradients) const {
  std::vector<double> parts(chunks_.size());
  at::parallel_for(0, static_cast<std::int64_t>(chunks_.size()), 4, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const Chunk& chunk = chunks_[static_cast<std::size_t>(i)];
      const float* const gradient = gradients[chunk.parameter];
      if (gradient == nullptr) continue;
      parts[static_cast<std::size_t>(i)] =
          train::sum_of_squares(gradient + chunk.begin, static_cast<std::size_t>(chunk.end - chunk.begin));
    }
  });
  double total = 0;
  for (const double part : parts) total += part;
  return total;
}

void AdamW::step(std::span<const float* const> gradients, double lr, double scale) {
  ++num_steps_;
  const auto t = static_cast<double>(num_steps_);
  StepConstants constants{
      .decay = 1.0f,
      .beta1 = static_cast<float>(options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .step_size = static_cast<float>(lr / (1 - std::pow(options_.beta1, t))),
      .inverse_root = static_cast<float>(1 / std::sqrt(1 - std::pow(options_.beta2, t))),
      .epsilon = static_cast<float>(options_.epsilon),
      .scale = static_cast<float>(scale),
  };
  const auto decay = static_cast<float>(1 - lr * options_.weight_decay);
  at::parallel_for(0, static_cast<std::int64_t>(chunks_.size()), 2, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const Chunk& chunk = chunks_[static_cast<std::size_t>(i)];
      const Parameter& parameter = parameters_[chunk.parameter];
      const float* const gradient = gradients[chunk.parameter];
      if (gradient == nullptr) continue;
      StepConstants own = constants;
      if (parameter.decays) own.decay = decay;
      update(parameter.value.data_ptr<float>() + chunk.begin, parameter.mean.data_ptr<float>() + chunk.begin,
             parameter.square.data_ptr<float>() + chunk.begin, gradient + chunk.begin, chunk.end - chunk.begin, own);
    }
  });
}

std::vector<nn::NamedTensor> AdamW::state() const {
  std::vector<nn::NamedTensor> tensors;
  for (const Parameter& parameter : parameters_) {
    tensors.push_back({parameter.name + ".exp_avg", parameter.mean});
    tensors.push_back({parameter.name + ".exp_avg_sq", parameter.square});
  }
  return tensors;
}

}  // namespace mobula::train
