#include "mobula/nn/kernels/token_position_embedding.hpp"

#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/nn/kernels/parallel_tasks.hpp"
#include "mobula/nn/kernels/pooled_tensor.hpp"
#include "mobula/nn/kernels/simd.hpp"

namespace mobula::nn::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Columns of the tables that one task of the backward pass takes.
constexpr std::int64_t kColumns = 64;
constexpr std::int64_t kRows = 64;

class EmbeddingFunction : public torch::autograd::Function<EmbeddingFunction> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& tokens, const at::Tensor& positions,
                            const at::Tensor& ids) {
    const std::int64_t width = tokens.size(1);
    const std::int64_t length = ids.size(1);
    at::Tensor out = take_tensor({ids.size(0), length, width});
    float* rows = out.mutable_data_ptr<float>();
    const std::int64_t* id = ids.const_data_ptr<std::int64_t>();
    const float* token_rows = tokens.const_data_ptr<float>();
    const float* position_rows = positions.const_data_ptr<float>();
    run_tasks((ids.numel() + kRows - 1) / kRows, [&](std::int64_t task) {
      for (std::int64_t i = task * kRows; i < std::min(ids.numel(), (task + 1) * kRows); ++i) {
        simd_kernels().fill_rows(1, width, token_rows + id[i] * width, position_rows + i % length * width,
                                 rows + i * width, width);
      }
    });
    context->save_for_backward({ids});
    context->saved_data["vocabulary"] = tokens.size(0);
    context->saved_data["positions"] = positions.size(0);
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const at::Tensor ids = context->get_saved_variables()[0];
    const at::Tensor dx = gradients[0].contiguous();
    const std::int64_t width = dx.size(2);
    const std::int64_t length = ids.size(1);
    at::Tensor dtokens = take_tensor({context->saved_data["vocabulary"].toInt(), width});
    at::Tensor dpositions = take_tensor({context->saved_data["positions"].toInt(), width});
    const std::int64_t* id = ids.const_data_ptr<std::int64_t>();
    const float* rows = dx.const_data_ptr<float>();
    float* token_rows = dtokens.mutable_data_ptr<float>();
    float* position_rows = dpositions.mutable_data_ptr<float>();
    run_tasks((width + kColumns - 1) / kColumns, [&](std::int64_t task) {
      const std::int64_t first = task * kColumns;
      const std::int64_t count = std::min(kColumns, width - first);
      const auto clear = [&](const at::Tensor& table, float* out) {
        for (std::int64_t i = 0; i < table.size(0); ++i) {
          std::fill(out + i * width + first, out + i * width + first + count, 0.0f);
        }
      };
      clear(dtokens, token_rows);
      clear(dpositions, position_rows);
      for (std::int64_t i = 0; i < ids.numel(); ++i) {
        const float* row = rows + i * width + first;
        simd_kernels().add(count, row, token_rows + id[i] * width + first);
        simd_kernels().add(count, row, position_rows + i % length * width + first);
      }
    });
    return {dtokens, dpositions, at::Tensor()};
  }
};

}  // namespace

bool can_run_token_position_embedding(const at::Tensor& tokens_VC, const at::Tensor& positions_PC,
                                      const at::Tensor& ids_BT) {
  if (!ids_BT.device().is_cpu() || ids_BT.scalar_type() != at::kLong || ids_BT.dim() != 2) return false;
  for (const at::Tensor* t : {&tokens_VC, &positions_PC}) {
    if (!t->device().is_cpu() || t->scalar_type() != at::kFloat || !t->is_contiguous()) return false;
  }
  return true;
}

at::Tensor token_position_embedding(const at::Tensor& tokens_VC, const at::Tensor& positions_PC,
                                    const at::Tensor& ids_BT) {
  const at::Tensor ids = ids_BT.contiguous();
  if (ids.size(1) > positions_PC.size(0)) {
    throw_invalid(fmt::format("a sequence of {} tokens is longer than the {} positions of the table", ids.size(1),
                              positions_PC.size(0)));
  }
  const std::int64_t* id = ids.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < ids.numel(); ++i) {
    if (id[i] < 0 || id[i] >= tokens_VC.size(0)) {
      throw_invalid(
          fmt::format("token {} at position {} is outside the vocabulary of {} tokens", id[i], i, tokens_VC.size(0)),
          "tokenize with the model's tokenizer");
    }
  }
  return EmbeddingFunction::apply(tokens_VC, positions_PC, ids);
}

}  // namespace mobula::nn::kernels
