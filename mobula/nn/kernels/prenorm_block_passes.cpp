#include "mobula/nn/kernels/prenorm_block_passes.hpp"

#include <algorithm>
#include <initializer_list>

#include "mobula/nn/kernels/parallel_tasks.hpp"

namespace mobula::nn::kernels {
namespace {

// Rows that a thread takes through the layers at a time. Independent of the number of threads, since the sums of the
// norms' gradients follow it.
constexpr std::int64_t kChunk = 64;

// Arrays cut out of one piece of memory, in the order in which they are asked for.
class Cutter {
 public:
  explicit Cutter(std::byte* memory) : next_(memory) {}
  template <class T>
  T* take(std::int64_t count) {
    T* array = reinterpret_cast<T*>(next_);
    next_ += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return array;
  }
  std::size_t taken(const std::byte* memory) const { return static_cast<std::size_t>(next_ - memory); }

 private:
  std::byte* next_;
};

template <class E>
class Pass final : public PrenormBlockPass {
 public:
  explicit Pass(const PrenormBlockShape& shape) : s_(shape) {
    cut(nullptr, memory_bytes_);
    memory_ = take_buffer(memory_bytes_);
    cut(memory_.get(), memory_bytes_);
  }

  void forward(const BlockPointers& block, float* y) override;
  void backward(const BlockPointers& block, const BlockGradients& gradients) const override;

 private:
  static constexpr bool kRounded = sizeof(E) != sizeof(float);

  void cut(std::byte* memory, std::size_t& bytes) {
    const std::int64_t rows = s_.rows();
    Cutter cutter(memory);
    const auto saved = [&](std::int64_t width) {
      return SavedInput<E>{cutter.take<E>(SavedInput<E>::size(rows, width)), rows, width};
    };
    normed1_ = saved(s_.width);
    attended_ = saved(s_.width);
    normed2_ = saved(s_.width);
    active_ = saved(s_.inner);
    qkv_ = cutter.take<float>(rows * 3 * s_.width);
    middle_ = cutter.take<float>(rows * s_.width);
    inner_ = cutter.take<float>(rows * s_.inner);
    log_sums_ = cutter.take<float>(rows * s_.num_heads);
    for (float** statistic : {&mean1_, &inverse1_, &mean2_, &inverse2_}) *statistic = cutter.take<float>(rows);
    bytes = cutter.taken(memory);
  }

  std::int64_t num_chunks() const { return (s_.rows() + kChunk - 1) / kChunk; }
  std::int64_t chunk_rows(std::int64_t chunk) const { return std::min(kChunk, s_.rows() - chunk * kChunk); }
  LayerNormShape norm_shape(std::int64_t rows) const { return {rows, s_.width, s_.epsilon}; }
  AttentionHead head() const {
    return {s_.positions, s_.width / s_.num_heads, 3 * s_.width, s_.width, s_.attention_scale};
  }
  // Places of head `index` (of batch * num_heads) in arrays of 3 * width and of width columns.
  std::int64_t qkv_place(std::int64_t index) const {
    return index / s_.num_heads * s_.positions * 3 * s_.width + index % s_.num_heads * (s_.width / s_.num_heads);
  }
  std::int64_t out_place(std::int64_t index) const {
    return index / s_.num_heads * s_.positions * s_.width + index % s_.num_heads * (s_.width / s_.num_heads);
  }

  void attend(float* attended) const;
  void attend_backward(const float* dattended, float* dqkv) const;

  PrenormBlockShape s_;
  std::size_t memory_bytes_ = 0;
  std::shared_ptr<std::byte> memory_;
  SavedInput<E> normed1_, attended_, normed2_, active_;  // inputs of qkv, proj, in, out
  float* qkv_ = nullptr;
  float* middle_ = nullptr;  // x1
  float* inner_ = nullptr;   // before GELU
  float* log_sums_ = nullptr;
  float* mean1_ = nullptr;
  float* inverse1_ = nullptr;
  float* mean2_ = nullptr;
  float* inverse2_ = nullptr;
};

// Packs several operands in one run of tasks.
template <class E, std::size_t N>
void pack_all(const std::array<RightOperand<E>, N>& operands) {
  std::int64_t total = 0;
  for (const auto& operand : operands) total += operand.num_pack_tasks();
  run_tasks(total, [&](std::int64_t task) {
    for (const auto& operand : operands) {
      if (task < operand.num_pack_tasks()) {
        operand.pack(task);
        return;
      }
      task -= operand.num_pack_tasks();
    }
  });
}

struct WeightOf {
  const float* matrix;
  std::int64_t in, out;
};

// Makes the operands W, or Wᵀ, of several weights out of one buffer, packed.
template <class E, std::size_t N>
std::array<RightOperand<E>, N> operands_of(const std::array<WeightOf, N>& weights, bool transposed,
                                           std::shared_ptr<std::byte>& memory) {
  const auto cut = [&](std::byte* base, std::array<RightOperand<E>, N>& operands) {
    Cutter cutter(base);
    for (std::size_t i = 0; i < N; ++i) {
      const std::int64_t k = transposed ? weights[i].out : weights[i].in;
      const std::int64_t n = transposed ? weights[i].in : weights[i].out;
      E* packed = cutter.take<E>(RightOperand<E>::packed_size(k, n));
      operands[i] = RightOperand<E>(weights[i].matrix, k, n, transposed, packed);
    }
    return cutter.taken(base);
  };
  std::array<RightOperand<E>, N> operands;
  memory = take_buffer(cut(nullptr, operands));
  cut(memory.get(), operands);
  pack_all(operands);
  return operands;
}

std::array<WeightOf, 4> weights_of(const BlockPointers& block, const PrenormBlockShape& s) {
  return {{{block.parameters[kQkvWeight], s.width, 3 * s.width},
           {block.parameters[kProjWeight], s.width, s.width},
           {block.parameters[kInWeight], s.width, s.inner},
           {block.parameters[kOutWeight], s.inner, s.width}}};
}

template <class E>
void Pass<E>::forward(const BlockPointers& block, float* y) {
  const SimdKernels& simd = simd_kernels();
  const std::int64_t width = s_.width;
  std::shared_ptr<std::byte> packed;
  const auto weights = operands_of<E>(weights_of(block, s_), false, packed);
  std::shared_ptr<std::byte> attended_memory;
  float* attended = nullptr;
  if constexpr (kRounded) {
    attended_memory = take_buffer(static_cast<std::size_t>(s_.rows() * width) * sizeof(float));
    attended = reinterpret_cast<float*>(attended_memory.get());
  } else {
    attended = attended_.data;
  }

  run_tasks(
      num_chunks(),
      [&](std::int64_t chunk) {
        const std::int64_t first = chunk * kChunk;
        const std::int64_t rows = chunk_rows(chunk);
        E* scratch = kRounded ? reinterpret_cast<E*>(thread_scratch(sizeof(E) * kChunk * width)) : nullptr;
        E* normed = normed1_.rows_at(first, scratch);
        simd.layer_norm(norm_shape(rows), block.x + first * width, block.parameters[kNorm1Weight],
                        block.parameters[kNorm1Bias], kRounded ? nullptr : reinterpret_cast<float*>(normed),
                        kRounded ? reinterpret_cast<Bf16Bits*>(normed) : nullptr, mean1_ + first, inverse1_ + first);
        float* qkv = qkv_ + first * 3 * width;
        simd.fill_rows(rows, 3 * width, block.parameters[kQkvBias], nullptr, qkv, 3 * width);
        weights[0].multiply(rows, normed, width, qkv, 3 * width, true);
        normed1_.keep(first, rows, normed);
      },
      end_products);

  attend(attended);

  run_tasks(
      num_chunks(),
      [&](std::int64_t chunk) {
        const std::int64_t first = chunk * kChunk;
        const std::int64_t rows = chunk_rows(chunk);
        const std::int64_t inner_width = s_.inner;
        E* scratch = kRounded ? reinterpret_cast<E*>(thread_scratch(sizeof(E) * kChunk * std::max(width, inner_width)))
                              : nullptr;
        // x1 = x + attended · proj + bias
        float* middle = middle_ + first * width;
        simd.fill_rows(rows, width, block.parameters[kProjBias], block.x + first * width, middle, width);
        const E* heads = as_elements<E>(rows * width, attended + first * width, scratch);
        weights[1].multiply(rows, heads, width, middle, width, true);
        attended_.keep(first, rows, heads);
        // inner = norm2(x1) · in + bias
        E* normed = normed2_.rows_at(first, scratch);
        simd.layer_norm(norm_shape(rows), middle, block.parameters[kNorm2Weight], block.parameters[kNorm2Bias],
                        kRounded ? nullptr : reinterpret_cast<float*>(normed),
                        kRounded ? reinterpret_cast<Bf16Bits*>(normed) : nullptr, mean2_ + first, inverse2_ + first);
        float* inner = inner_ + first * inner_width;
        simd.fill_rows(rows, inner_width, block.parameters[kInBias], nullptr, inner, inner_width);
        weights[2].multiply(rows, normed, width, inner, inner_width, true);
        normed2_.keep(first, rows, normed);
        // y = x1 + gelu(inner) · out + bias
        E* active = active_.rows_at(first, scratch);
        simd.gelu(rows * inner_width, inner, kRounded ? nullptr : reinterpret_cast<float*>(active),
                  kRounded ? reinterpret_cast<Bf16Bits*>(active) : nullptr);
        float* out = y + first * width;
        simd.fill_rows(rows, width, block.parameters[kOutBias], middle, out, width);
        weights[3].multiply(rows, active, inner_width, out, width, true);
        active_.keep(first, rows, active);
      },
      end_products);
}

template <class E>
void Pass<E>::attend(float* attended) const {
  const SimdKernels& simd = simd_kernels();
  const AttentionHead shape = head();
  const auto scratch_bytes = static_cast<std::size_t>(simd.attention_scratch(shape)) * sizeof(float);
  run_tasks(s_.batch * s_.num_heads, [&](std::int64_t index) {
    const float* q = qkv_ + qkv_place(index);
    simd.attention(shape, q, q + s_.width, q + 2 * s_.width, attended + out_place(index),
                   log_sums_ + index * s_.positions, reinterpret_cast<float*>(thread_scratch(scratch_bytes)));
  });
}

template <class E>
void Pass<E>::attend_backward(const float* dattended, float* dqkv) const {
  const SimdKernels& simd = simd_kernels();
  const AttentionHead shape = head();
  const auto scratch_bytes = static_cast<std::size_t>(simd.attention_scratch(shape)) * sizeof(float);
  run_tasks(s_.batch * s_.num_heads, [&](std::int64_t index) {
    const float* q = qkv_ + qkv_place(index);
    float* dq = dqkv + qkv_place(index);
    simd.attention_backward(shape, q, q + s_.width, q + 2 * s_.width, dattended + out_place(index),
                            log_sums_ + index * s_.positions, dq, dq + s_.width, dq + 2 * s_.width,
                            reinterpret_cast<float*>(thread_scratch(scratch_bytes)));
  });
}

template <class E>
void Pass<E>::backward(const BlockPointers& block, const BlockGradients& gradients) const {
  const SimdKernels& simd = simd_kernels();
  const std::int64_t rows_total = s_.rows();
  const std::int64_t width = s_.width;
  const std::int64_t inner_width = s_.inner;
  std::shared_ptr<std::byte> packed;
  const auto weights = operands_of<E>(weights_of(block, s_), true, packed);

  float *dmiddle, *dinner, *dattended, *dqkv, *partials;
  const auto cut = [&](std::byte* memory) {
    Cutter cutter(memory);
    dmiddle = cutter.take<float>(rows_total * width);
    dinner = cutter.take<float>(rows_total * inner_width);
    dattended = cutter.take<float>(rows_total * width);
    dqkv = cutter.take<float>(rows_total * 3 * width);
    partials = cutter.take<float>(num_chunks() * 4 * width);  // dgamma1, dbeta1, dgamma2, dbeta2 of every chunk
    return cutter.taken(memory);
  };
  const std::shared_ptr<std::byte> memory = take_buffer(cut(nullptr));
  cut(memory.get());
  std::fill(partials, partials + num_chunks() * 4 * width, 0.0f);

  // From y back to the attention's output.
  run_tasks(
      num_chunks(),
      [&](std::int64_t chunk) {
        const std::int64_t first = chunk * kChunk;
        const std::int64_t rows = chunk_rows(chunk);
        Cutter cutter(
            thread_scratch(kChunk * (sizeof(float) * width + sizeof(E) * std::max(width, inner_width)) + 128));
        auto* dnormed = cutter.template take<float>(kChunk * width);
        auto* rounded = cutter.template take<E>(kChunk * std::max(width, inner_width));
        const float* dy = gradients.dy + first * width;
        float* dhidden = dinner + first * inner_width;
        weights[3].multiply(rows, as_elements<E>(rows * width, dy, rounded), width, dhidden, inner_width, false);
        const E* hidden_elements;
        if constexpr (kRounded) {
          simd.gelu_backward(rows * inner_width, dhidden, inner_ + first * inner_width, dhidden, rounded);
          hidden_elements = rounded;
        } else {
          simd.gelu_backward(rows * inner_width, dhidden, inner_ + first * inner_width, dhidden, nullptr);
          hidden_elements = dhidden;
        }
        weights[2].multiply(rows, hidden_elements, inner_width, dnormed, width, false);
        float* sums = partials + (chunk * 4 + 2) * width;
        float* dx1 = dmiddle + first * width;
        simd.layer_norm_backward(norm_shape(rows), dnormed, middle_ + first * width, mean2_ + first, inverse2_ + first,
                                 block.parameters[kNorm2Weight], dy, dx1, sums, sums + width);
        weights[1].multiply(rows, as_elements<E>(rows * width, dx1, rounded), width, dattended + first * width, width,
                            false);
      },
      end_products);

  attend_backward(dattended, dqkv);

  // From there to x, and the weights' gradients by columns, the largest first.
  struct Product {
    const SavedInput<E>* input;
    const float* dy;
    std::int64_t columns;
    std::size_t weight, bias;
  };
  const std::array<Product, 4> products = {{{&active_, gradients.dy, width, kOutWeight, kOutBias},
                                            {&normed2_, dinner, inner_width, kInWeight, kInBias},
                                            {&normed1_, dqkv, 3 * width, kQkvWeight, kQkvBias},
                                            {&attended_, dmiddle, width, kProjWeight, kProjBias}}};
  constexpr std::int64_t kColumns = SavedInput<E>::kColumns;
  std::int64_t num_products = 0;
  for (const Product& product : products) num_products += (product.columns + kColumns - 1) / kColumns;
  run_tasks(
      num_products + num_chunks(),
      [&](std::int64_t task) {
        for (const Product& product : products) {
          const std::int64_t panels = (product.columns + kColumns - 1) / kColumns;
          if (task < panels) {
            const std::int64_t first = task * kColumns;
            const std::int64_t count = std::min(kColumns, product.columns - first);
            product.input->weight_gradient(product.dy, product.columns, first, count,
                                           gradients.parameters[product.weight]);
            simd.column_sum(rows_total, count, product.dy + first, product.columns,
                            gradients.parameters[product.bias] + first, false);
            return;
          }
          task -= panels;
        }
        const std::int64_t first = task * kChunk;
        const std::int64_t rows = chunk_rows(task);
        Cutter cutter(thread_scratch(kChunk * (sizeof(float) * width + sizeof(E) * 3 * width) + 128));
        auto* dnormed = cutter.template take<float>(kChunk * width);
        auto* rounded = cutter.template take<E>(kChunk * 3 * width);
        weights[0].multiply(rows, as_elements<E>(rows * 3 * width, dqkv + first * 3 * width, rounded), 3 * width,
                            dnormed, width, false);
        float* sums = partials + task * 4 * width;
        simd.layer_norm_backward(norm_shape(rows), dnormed, block.x + first * width, mean1_ + first, inverse1_ + first,
                                 block.parameters[kNorm1Weight], dmiddle + first * width, gradients.dx + first * width,
                                 sums, sums + width);
      },
      end_products);

  constexpr std::array<std::size_t, 4> kNormParameters = {kNorm1Weight, kNorm1Bias, kNorm2Weight, kNorm2Bias};
  for (std::size_t i = 0; i < kNormParameters.size(); ++i) {
    simd.column_sum(num_chunks(), width, partials + static_cast<std::int64_t>(i) * width, 4 * width,
                    gradients.parameters[kNormParameters[i]], false);
  }
}

}  // namespace

std::unique_ptr<PrenormBlockPass> make_prenorm_block_pass(const PrenormBlockShape& shape, Precision precision) {
  if (precision == Precision::bf16) return std::make_unique<Pass<Bf16Bits>>(shape);
  return std::make_unique<Pass<float>>(shape);
}

}  // namespace mobula::nn::kernels
