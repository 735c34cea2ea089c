#include "mobula/nn/kernels/prenorm_block.hpp"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "mobula/nn/kernels/pooled_tensor.hpp"
#include "mobula/nn/kernels/prenorm_block_passes.hpp"

namespace mobula::nn::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What the backward pass needs beside the tensors that autograd saves.
struct SavedPass : torch::CustomClassHolder {
  std::unique_ptr<PrenormBlockPass> pass;
};

BlockPointers pointers_of(const at::Tensor& x, const at::Tensor* p) {
  BlockPointers b;
  b.x = x.const_data_ptr<float>();
  for (std::size_t i = 0; i < b.parameters.size(); ++i) b.parameters[i] = p[i].const_data_ptr<float>();
  return b;
}

class PrenormBlockFunction : public torch::autograd::Function<PrenormBlockFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& p0, const at::Tensor& p1,
                            const at::Tensor& p2, const at::Tensor& p3, const at::Tensor& p4, const at::Tensor& p5,
                            const at::Tensor& p6, const at::Tensor& p7, const at::Tensor& p8, const at::Tensor& p9,
                            const at::Tensor& p10, const at::Tensor& p11, const PrenormBlockShape& shape,
                            Precision precision) {
    const std::array<at::Tensor, kNumBlockParameters> p = {p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11};
    auto saved = c10::make_intrusive<SavedPass>();
    saved->pass = make_prenorm_block_pass(shape, precision);
    at::Tensor y = take_tensor(x.sizes());
    saved->pass->forward(pointers_of(x, p.data()), y.mutable_data_ptr<float>());
    variable_list tensors(p.begin(), p.end());
    tensors.push_back(x);
    context->save_for_backward(std::move(tensors));
    context->saved_data["pass"] = c10::IValue::make_capsule(std::move(saved));
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[kNumBlockParameters];
    const auto holder = context->saved_data["pass"].toCapsule();
    auto& pass = *static_cast<SavedPass&>(*holder).pass;
    const at::Tensor dy = gradients[0].contiguous();
    variable_list out(1 + kNumBlockParameters + 2);
    out[0] = take_tensor(x.sizes());
    BlockGradients g;
    g.dy = dy.const_data_ptr<float>();
    g.dx = out[0].mutable_data_ptr<float>();
    for (std::size_t i = 0; i < kNumBlockParameters; ++i) {
      out[1 + i] = take_tensor(saved[i].sizes());
      g.parameters[i] = out[1 + i].mutable_data_ptr<float>();
    }
    pass.backward(pointers_of(x, saved.data()), g);
    return out;
  }
};

std::array<const at::Tensor*, kNumBlockParameters> list(const PrenormBlockParameters& p) {
  return {&p.norm1_weight, &p.norm1_bias, &p.qkv_weight, &p.qkv_bias, &p.proj_weight, &p.proj_bias,
          &p.norm2_weight, &p.norm2_bias, &p.in_weight,  &p.in_bias,  &p.out_weight,  &p.out_bias};
}

PrenormBlockShape shape_of(const at::Tensor& x, const PrenormBlockParameters& p, const PrenormBlockOptions& o) {
  return {.batch = x.size(0),
          .positions = x.size(1),
          .width = x.size(2),
          .inner = p.in_weight.size(1),
          .num_heads = o.num_heads,
          .attention_scale = static_cast<float>(o.attention_scale),
          .epsilon = static_cast<float>(o.epsilon)};
}

}  // namespace

bool can_run_prenorm_block(const at::Tensor& x_BTC, const PrenormBlockParameters& parameters,
                           const PrenormBlockOptions& options) {
  const auto plain = [](const at::Tensor& t) {
    return t.device().is_cpu() && t.scalar_type() == at::kFloat && t.is_contiguous() && t.layout() == at::kStrided;
  };
  if (!plain(x_BTC) || x_BTC.dim() != 3 || x_BTC.numel() == 0) return false;
  for (const at::Tensor* p : list(parameters)) {
    if (!p->defined() || !plain(*p)) return false;
  }
  const std::int64_t width = x_BTC.size(2);
  const std::int64_t inner = parameters.in_weight.size(1);
  if (parameters.qkv_weight.size(1) != 3 * width || width % options.num_heads != 0) return false;
  return options.precision == Precision::fp32 || (width % kBf16Step == 0 && inner % kBf16Step == 0);
}

at::Tensor prenorm_block(const at::Tensor& x_BTC, const PrenormBlockParameters& p, const PrenormBlockOptions& options) {
  const PrenormBlockShape shape = shape_of(x_BTC, p, options);
  return PrenormBlockFunction::apply(x_BTC, p.norm1_weight, p.norm1_bias, p.qkv_weight, p.qkv_bias, p.proj_weight,
                                     p.proj_bias, p.norm2_weight, p.norm2_bias, p.in_weight, p.in_bias, p.out_weight,
                                     p.out_bias, shape, options.precision);
}

}  // namespace mobula::nn::kernels
