// Adapters on top of the decoder's matrices: the rows that have one are gathered, changed and put back, each by arithmetic of
// its own, so that a row's bits don't depend on the rows beside it.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/nn/decoder/decoder.hpp"
#include "mobula/nn/decoder/quantize.hpp"

namespace mobula::nn {
namespace {

WeightView view_of(const Array& matrix) {
  return {.data = matrix.const_data_ptr(), .num_out = matrix.size(0), .num_in = matrix.size(1)};
}

}  // namespace

void Decoder::for_each_matrix(const std::function<void(Matrix&)>& visit) {
  const auto visit_mlp = [&](Mlp& mlp) {
    for (Matrix* matrix : {&mlp.gate, &mlp.up, &mlp.down}) {
      if (matrix->weight.defined()) visit(*matrix);
    }
  };
  if (project_in_.weight.defined()) visit(project_in_);
  for (Layer& layer : layers_) {
    for (Matrix& matrix : layer.qkv) visit(matrix);
    visit(layer.attention_out);
    visit_mlp(layer.mlp);
    for (Mlp& expert : layer.experts) visit_mlp(expert);
  }
  if (project_out_.weight.defined()) visit(project_out_);
  visit(head_);
}

Array Decoder::numbers_of(const Matrix& matrix) {
  if (matrix.type == WeightType::fp32 || matrix.type == WeightType::bf16) return matrix.weight;
  const std::int64_t num_out = matrix.view.num_out, num_in = matrix.view.num_in;
  if (matrix.stored == nullptr) return dequantize({matrix.weight, matrix.scales, num_out}, matrix.type, num_in);
  HugePages pages;
  return dequantize(rearrange(*matrix.stored, pages), *type_of(*matrix.stored), num_in);
}

int Decoder::add_adapter(const Adapter& adapter) {
  if (!adapter.replacements.empty()) {
    throw Error(ErrorCode::unsupported,
                fmt::format("the adapter replaces '{}', which a model shared by several adapters can't do",
                            adapter.replacements.begin()->first),
                "merge it: mobula model merge MODEL OUT --adapter DIR");
  }
  std::vector<std::pair<Matrix*, MatrixAdapter>> made;
  std::vector<std::string> known;
  std::unordered_map<std::string, std::vector<Matrix*>> by_module;
  for_each_matrix([&](Matrix& matrix) {
    if (matrix.module.empty()) return;
    by_module[matrix.module].push_back(&matrix);
    known.push_back(matrix.module);
  });
  for (const auto& [name, module] : adapter.modules) {
    if (module.is_embedding) {
      throw Error(ErrorCode::unsupported, fmt::format("the adapter changes the embeddings '{}'", name),
                  "merge it: mobula model merge MODEL OUT --adapter DIR");
    }
    const auto found = by_module.find(name);
    if (found == by_module.end()) {
      throw_invalid(fmt::format("the adapter changes '{}', which the model lacks", name), suggest(name, known));
    }
    for (Matrix* matrix : found->second) {
      const auto mine = [&](const Array& rows) {
        const Array wide = rows.to(at::kFloat);
        return matrix->rows_of_module ? matrix->rows_of_module(wide) : wide;
      };
      const std::int64_t num_out = matrix->view.num_out, num_in = matrix->view.num_in;
      MatrixAdapter part;
      bool fits = true;
      if (module.a.defined()) {
        AdapterModule rows_here = module;
        rows_here.a = part.a = module.a.to(at::kFloat);
        rows_here.b = part.b = mine(module.b);
        part.scale = static_cast<float>(module.scale);
        fits = part.a.size(1) == num_in && part.b.size(0) == num_out;
        if (fits && module.magnitude.defined()) {
          rows_here.magnitude = mine(module.magnitude);
          part.output_factors = dora_factors(rows_here, numbers_of(*matrix));
        }
      } else if (module.scales_inputs) {
        part.input_factors = module.factor.to(at::kFloat);
        fits = part.input_factors.numel() == num_in;
      } else {
        part.output_factors = mine(module.factor);
        fits = part.output_factors.numel() == num_out;
      }
      if (!fits) {
        throw_invalid(
            fmt::format("the adapter's '{}' doesn't fit a matrix of {} outputs and {} inputs", name, num_out, num_in),
            "was it trained on another model?");
      }
      made.emplace_back(matrix, std::move(part));
    }
  }
  const auto number = static_cast<std::size_t>(num_adapters_);
  for (auto& [matrix, part] : made) {
    matrix->adapters.resize(number + 1);
    matrix->adapters[number] = std::move(part);
  }
  return num_adapters_++;
}

void Decoder::run_matrix(WeightType type, const WeightView& view, const float* x, std::int64_t num_rows, float* out) {
  const MatmulKernel& kernel = kernels_.matmul[static_cast<int>(type)];
  const std::size_t bytes = kernel.packed_bytes(num_rows, view.num_in);
  void* packed = packed_.sized(static_cast<std::int64_t>(bytes));
  kernel.pack(x, view.num_in, num_rows, view.num_in, packed);
  team_->run((view.num_out + kRun - 1) / kRun, 2, [&](std::int64_t begin, std::int64_t end) {
    kernel.run(packed, num_rows, view, begin * kRun, std::min(end * kRun, view.num_out), out, view.num_out);
  });
}

void Decoder::apply_adapters(const float* x, std::int64_t num_rows, const Matrix& matrix, float* out,
                             std::int64_t stride) {
  std::vector<std::int64_t> rows;
  for (std::size_t number = 0; number < matrix.adapters.size(); ++number) {
    if (!matrix.adapters[number]) continue;
    rows.clear();
    for (std::int64_t r = 0; r < num_rows; ++r) {
      if (row_adapters_[static_cast<std::size_t>(r)] == static_cast<int>(number)) rows.push_back(r);
    }
    if (!rows.empty()) apply_adapter(*matrix.adapters[number], x, rows, matrix, out, stride);
  }
}

void Decoder::apply_adapter(const MatrixAdapter& adapter, const float* x, std::span<const std::int64_t> rows,
                            const Matrix& matrix, float* out, std::int64_t stride) {
  const std::int64_t num_in = matrix.view.num_in, num_out = matrix.view.num_out;
  const auto count = static_cast<std::int64_t>(rows.size());
  float* in = adapter_in_.sized(count * num_in);
  for (std::int64_t i = 0; i < count; ++i)
    std::copy_n(x + rows[static_cast<std::size_t>(i)] * num_in, num_in, in + i * num_in);
  const float* added = nullptr;
  if (adapter.a.defined()) {
    float* inner = adapter_inner_.sized(count * adapter.a.size(0));
    run_matrix(WeightType::fp32, view_of(adapter.a), in, count, inner);
    float* product = adapter_out_.sized(count * num_out);
    run_matrix(WeightType::fp32, view_of(adapter.b), inner, count, product);
    added = product;
  }
  const float* base = nullptr;  // where the matrix reads other inputs than the rows without the adapter
  if (adapter.input_factors.defined()) {
    const auto* factors = adapter.input_factors.const_data_ptr<float>();
    for (std::int64_t i = 0; i < count * num_in; ++i) in[i] *= factors[i % num_in];
    float* anew = adapter_base_.sized(count * num_out);
    run_matrix(matrix.type, matrix.view, in, count, anew);
    base = anew;
  }
  const float* factors = adapter.output_factors.defined() ? adapter.output_factors.const_data_ptr<float>() : nullptr;
  for (std::int64_t i = 0; i < count; ++i) {
    float* y = out + rows[static_cast<std::size_t>(i)] * stride;
    if (base != nullptr) std::copy_n(base + i * num_out, num_out, y);
    if (added != nullptr && factors == nullptr) {
      for (std::int64_t o = 0; o < num_out; ++o) y[o] += adapter.scale * added[i * num_out + o];
    } else if (added != nullptr) {
      for (std::int64_t o = 0; o < num_out; ++o) {
        const float bias = matrix.view.bias != nullptr ? matrix.view.bias[o] : 0.0f;
        y[o] = factors[o] * ((y[o] - bias) + adapter.scale * added[i * num_out + o]) + bias;
      }
    } else if (factors != nullptr) {
      for (std::int64_t o = 0; o < num_out; ++o) y[o] *= factors[o];
    }
  }
}

}  // namespace mobula::nn
