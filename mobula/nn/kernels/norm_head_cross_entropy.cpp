#include "mobula/nn/kernels/norm_head_cross_entropy.hpp"

#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/nn/kernels/buffer_pool.hpp"
#include "mobula/nn/kernels/operand.hpp"
#include "mobula/nn/kernels/parallel_tasks.hpp"
#include "mobula/nn/kernels/pooled_tensor.hpp"

namespace mobula::nn::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kChunk = 64;
constexpr std::int64_t kIgnored = -100;

struct HeadShape {
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::int64_t vocabulary = 0;
  float epsilon = 1e-5f;

  /// Columns of the scores: the vocabulary, rounded up so that bf16 products can run over it.
  std::int64_t columns() const { return (vocabulary + kBf16Step - 1) / kBf16Step * kBf16Step; }
  std::int64_t num_chunks() const { return (rows + kChunk - 1) / kChunk; }
  std::int64_t chunk_rows(std::int64_t chunk) const { return std::min(kChunk, rows - chunk * kChunk); }
  LayerNormShape norm(std::int64_t count) const { return {count, width, epsilon}; }
};

struct HeadPointers {
  const float* x = nullptr;
  const float* norm_weight = nullptr;
  const float* norm_bias = nullptr;
  const float* head = nullptr;
};

struct HeadGradients {
  float scale = 1.0f;
  float* dx = nullptr;
  float* norm_weight = nullptr;
  float* norm_bias = nullptr;
  float* head = nullptr;
};

// Forward pass and its leftovers.
class HeadPass {
 public:
  virtual ~HeadPass() = default;
  virtual double forward(const HeadPointers& in, const std::int64_t* targets, std::int64_t num_targets) = 0;
  virtual void backward(const HeadPointers& in, const HeadGradients& out) const = 0;
};

template <class E>
class Pass final : public HeadPass {
 public:
  explicit Pass(const HeadShape& shape) : s_(shape) {
    const auto elements = static_cast<std::size_t>(SavedInput<E>::size(s_.rows, s_.width));
    normed_memory_ = take_buffer(elements * sizeof(E));
    normed_ = {reinterpret_cast<E*>(normed_memory_.get()), s_.rows, s_.width};
    scores_memory_ = take_buffer(static_cast<std::size_t>(s_.rows * (s_.columns() + 2)) * sizeof(float));
    scores_ = reinterpret_cast<float*>(scores_memory_.get());
    mean_ = scores_ + s_.rows * s_.columns();
    inverse_ = mean_ + s_.rows;
  }

  double forward(const HeadPointers& in, const std::int64_t* targets, std::int64_t num_targets) override;
  void backward(const HeadPointers& in, const HeadGradients& out) const override;

 private:
  // The head, its rows filled up with zeros to columns(): the right operand wants a whole matrix.
  std::shared_ptr<std::byte> padded_head(const float* head) const {
    const auto bytes = static_cast<std::size_t>(s_.columns() * s_.width) * sizeof(float);
    std::shared_ptr<std::byte> memory = take_buffer(bytes);
    auto* padded = reinterpret_cast<float*>(memory.get());
    std::copy(head, head + s_.vocabulary * s_.width, padded);
    std::fill(padded + s_.vocabulary * s_.width, padded + s_.columns() * s_.width, 0.0f);
    return memory;
  }
  static RightOperand<E> operand(const float* matrix, std::int64_t k, std::int64_t n, bool transposed,
                                 std::shared_ptr<std::byte>& memory) {
    memory = take_buffer(static_cast<std::size_t>(RightOperand<E>::packed_size(k, n)) * sizeof(E));
    const RightOperand<E> right(matrix, k, n, transposed, reinterpret_cast<E*>(memory.get()));
    run_tasks(right.num_pack_tasks(), [&](std::int64_t task) { right.pack(task); });
    return right;
  }

  HeadShape s_;
  std::shared_ptr<std::byte> normed_memory_, scores_memory_;
  SavedInput<E> normed_;
  float* scores_ = nullptr;  // after forward(): the loss's gradient
  float* mean_ = nullptr;
  float* inverse_ = nullptr;
};

template <class E>
double Pass<E>::forward(const HeadPointers& in, const std::int64_t* targets, std::int64_t num_targets) {
  constexpr bool kRounded = sizeof(E) != sizeof(float);
  const SimdKernels& simd = simd_kernels();
  const std::int64_t columns = s_.columns();
  const float share = num_targets > 0 ? 1.0f / static_cast<float>(num_targets) : 0.0f;
  const std::shared_ptr<std::byte> head = padded_head(in.head);
  std::shared_ptr<std::byte> packed;
  const RightOperand<E> right = operand(reinterpret_cast<const float*>(head.get()), s_.width, columns, true, packed);
  std::vector<double> losses(static_cast<std::size_t>(s_.num_chunks()));
  run_tasks(
      s_.num_chunks(),
      [&](std::int64_t chunk) {
        const std::int64_t first = chunk * kChunk;
        const std::int64_t rows = s_.chunk_rows(chunk);
        E* scratch = kRounded ? reinterpret_cast<E*>(thread_scratch(sizeof(E) * kChunk * s_.width)) : nullptr;
        E* normed = normed_.rows_at(first, scratch);
        simd.layer_norm(s_.norm(rows), in.x + first * s_.width, in.norm_weight, in.norm_bias,
                        kRounded ? nullptr : reinterpret_cast<float*>(normed),
                        kRounded ? reinterpret_cast<Bf16Bits*>(normed) : nullptr, mean_ + first, inverse_ + first);
        float* scores = scores_ + first * columns;
        right.multiply(rows, normed, s_.width, scores, columns, false);
        normed_.keep(first, rows, normed);
        losses[static_cast<std::size_t>(chunk)] =
            simd.cross_entropy(rows, s_.vocabulary, columns, targets + first, share, scores);
      },
      end_products);
  double loss = 0;
  for (const double part : losses) loss += part;
  return num_targets > 0 ? loss / static_cast<double>(num_targets) : std::numeric_limits<double>::quiet_NaN();
}

template <class E>
void Pass<E>::backward(const HeadPointers& in, const HeadGradients& out) const {
  const SimdKernels& simd = simd_kernels();
  const std::int64_t columns = s_.columns();
  const std::int64_t width = s_.width;
  const std::shared_ptr<std::byte> head = padded_head(in.head);
  std::shared_ptr<std::byte> packed;
  const RightOperand<E> right = operand(reinterpret_cast<const float*>(head.get()), columns, width, false, packed);
  const auto num_sums = static_cast<std::size_t>(s_.num_chunks() * 2 * width);
  const std::shared_ptr<std::byte> sums_memory = take_buffer(num_sums * sizeof(float));
  auto* sums = reinterpret_cast<float*>(sums_memory.get());
  std::fill(sums, sums + num_sums, 0.0f);
  // The head's gradient comes as [C, columns]: the norm's output is what the products keep.
  const std::shared_ptr<std::byte> by_columns = take_buffer(static_cast<std::size_t>(width * columns) * sizeof(float));
  auto* dhead = reinterpret_cast<float*>(by_columns.get());
  const std::int64_t num_panels = (columns + kPanel - 1) / kPanel;
  run_tasks(
      s_.num_chunks() + num_panels,
      [&](std::int64_t task) {
        if (task >= s_.num_chunks()) {
          const std::int64_t first = (task - s_.num_chunks()) * kPanel;
          const std::int64_t count = std::min(kPanel, columns - first);
          normed_.weight_gradient(scores_, columns, first, count, dhead);
          const std::int64_t used = std::min(count, s_.vocabulary - first);
          if (used <= 0) return;
          simd.transpose(width, used, dhead + first, columns, out.head + first * width, width);
          if (out.scale != 1.0f) simd.scale(used * width, out.scale, out.head + first * width);
          return;
        }
        const std::int64_t first = task * kChunk;
        const std::int64_t rows = s_.chunk_rows(task);
        const std::size_t bytes = sizeof(float) * kChunk * width;
        std::byte* scratch = thread_scratch(bytes + sizeof(E) * kChunk * columns);
        auto* dnormed = reinterpret_cast<float*>(scratch);
        const E* elements =
            as_elements<E>(rows * columns, scores_ + first * columns, reinterpret_cast<E*>(scratch + bytes));
        right.multiply(rows, elements, columns, dnormed, width, false);
        if (out.scale != 1.0f) simd.scale(rows * width, out.scale, dnormed);
        float* chunk_sums = sums + task * 2 * width;
        simd.layer_norm_backward(s_.norm(rows), dnormed, in.x + first * width, mean_ + first, inverse_ + first,
                                 in.norm_weight, nullptr, out.dx + first * width, chunk_sums, chunk_sums + width);
      },
      end_products);
  simd.column_sum(s_.num_chunks(), width, sums, 2 * width, out.norm_weight, false);
  simd.column_sum(s_.num_chunks(), width, sums + width, 2 * width, out.norm_bias, false);
}

struct SavedPass : torch::CustomClassHolder {
  std::unique_ptr<HeadPass> pass;
};

HeadPointers pointers_of(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                         const at::Tensor& head) {
  return {x.const_data_ptr<float>(), weight.const_data_ptr<float>(), bias.const_data_ptr<float>(),
          head.const_data_ptr<float>()};
}

class HeadFunction : public torch::autograd::Function<HeadFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const at::Tensor& head, const at::Tensor& targets, double epsilon,
                            std::int64_t num_targets, Precision precision) {
    const HeadShape shape = {.rows = targets.numel(),
                             .width = head.size(1),
                             .vocabulary = head.size(0),
                             .epsilon = static_cast<float>(epsilon)};
    auto saved = c10::make_intrusive<SavedPass>();
    if (precision == Precision::bf16) {
      saved->pass = std::make_unique<Pass<Bf16Bits>>(shape);
    } else {
      saved->pass = std::make_unique<Pass<float>>(shape);
    }
    const double loss =
        saved->pass->forward(pointers_of(x, weight, bias, head), targets.const_data_ptr<std::int64_t>(), num_targets);
    context->save_for_backward({x, weight, bias, head});
    context->saved_data["pass"] = c10::IValue::make_capsule(std::move(saved));
    return at::scalar_tensor(loss, at::TensorOptions().dtype(at::kFloat));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const auto holder = context->saved_data["pass"].toCapsule();
    variable_list out(8);
    for (std::size_t i = 0; i < 4; ++i) out[i] = take_tensor(saved[i].sizes());
    static_cast<SavedPass&>(*holder).pass->backward(pointers_of(saved[0], saved[1], saved[2], saved[3]),
                                                    {.scale = *gradients[0].const_data_ptr<float>(),
                                                     .dx = out[0].mutable_data_ptr<float>(),
                                                     .norm_weight = out[1].mutable_data_ptr<float>(),
                                                     .norm_bias = out[2].mutable_data_ptr<float>(),
                                                     .head = out[3].mutable_data_ptr<float>()});
    return out;
  }
};

// Counts the targets that aren't left out; all others must be tokens.
std::int64_t count_targets(const at::Tensor& targets, std::int64_t vocabulary) {
  const std::int64_t* ids = targets.const_data_ptr<std::int64_t>();
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < targets.numel(); ++i) {
    if (ids[i] == kIgnored) continue;
    if (ids[i] < 0 || ids[i] >= vocabulary) {
      throw_invalid(
          fmt::format("target {} at position {} is outside the vocabulary of {} tokens", ids[i], i, vocabulary),
          "tokenize with the model's tokenizer; -100 leaves a position out");
    }
    ++count;
  }
  return count;
}

}  // namespace

bool can_run_norm_head_cross_entropy(const at::Tensor& x_BTC, const at::Tensor& norm_weight,
                                     const at::Tensor& norm_bias, const at::Tensor& head_VC, Precision precision) {
  for (const at::Tensor* t : {&x_BTC, &norm_weight, &norm_bias, &head_VC}) {
    if (!t->device().is_cpu() || t->scalar_type() != at::kFloat || !t->is_contiguous()) return false;
  }
  return x_BTC.numel() > 0 && (precision == Precision::fp32 || head_VC.size(1) % kBf16Step == 0);
}

at::Tensor norm_head_cross_entropy(const at::Tensor& x_BTC, const at::Tensor& norm_weight, const at::Tensor& norm_bias,
                                   double epsilon, const at::Tensor& head_VC, const at::Tensor& targets_BT,
                                   Precision precision) {
  const at::Tensor targets = targets_BT.contiguous();
  const std::int64_t num_targets = count_targets(targets, head_VC.size(0));
  return HeadFunction::apply(x_BTC, norm_weight, norm_bias, head_VC, targets, epsilon, num_targets, precision);
}

}  // namespace mobula::nn::kernels
