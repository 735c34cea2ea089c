#include "mobula/train/language_model/evaluation.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <vector>

namespace mobula::train {
namespace {

struct Batch {
  std::uint64_t first;
  std::int64_t count;
  std::int64_t length;
};

/// Cuts the split's windows into batches of one length each: only the last window is shorter.
std::vector<Batch> make_batches(const data::TokenWindows& split, std::int64_t batch_size) {
  std::vector<Batch> batches;
  const std::uint64_t windows = split.num_ordered();
  const bool short_end = split.ordered_length(windows - 1) != split.context();
  const std::uint64_t whole = short_end ? windows - 1 : windows;
  for (std::uint64_t first = 0; first < whole; first += static_cast<std::uint64_t>(batch_size)) {
    const auto count = std::min(static_cast<std::uint64_t>(batch_size), whole - first);
    batches.push_back({first, static_cast<std::int64_t>(count), static_cast<std::int64_t>(split.context())});
  }
  if (short_end) batches.push_back({whole, 1, static_cast<std::int64_t>(split.ordered_length(whole))});
  return batches;
}

/// Sets a model's mode for as long as it lives.
class ScopedMode {
 public:
  ScopedMode(nn::Module& model, bool training) : model_(model), before_(model.is_training()) { model.train(training); }
  ScopedMode(const ScopedMode&) = delete;
  ScopedMode& operator=(const ScopedMode&) = delete;
  ~ScopedMode() { model_.train(before_); }

 private:
  nn::Module& model_;
  bool before_;
};

}  // namespace

double evaluate(nn::CausalLm& model, const data::TokenWindows& split, std::int64_t batch_size, Communicator& ranks) {
  const at::NoGradGuard no_grad;
  const ScopedMode mode(model, false);
  const std::vector<Batch> batches = make_batches(split, batch_size);
  std::vector<double> sums(batches.size());
  for (std::size_t i = 0; i < batches.size(); ++i) {
    if (static_cast<int>(i % static_cast<std::size_t>(ranks.size())) != ranks.rank()) continue;
    const Batch& batch = batches[i];
    const at::Tensor ids_BT = at::empty({batch.count, batch.length}, at::kLong);
    const at::Tensor targets_BT = at::empty({batch.count, batch.length}, at::kLong);
    const auto length = static_cast<std::size_t>(batch.length);
    for (std::int64_t row = 0; row < batch.count; ++row) {
      split.copy_ordered(batch.first + static_cast<std::uint64_t>(row),
                         {ids_BT.data_ptr<std::int64_t>() + row * batch.length, length},
                         {targets_BT.data_ptr<std::int64_t>() + row * batch.length, length});
    }
    sums[i] = model.loss(ids_BT, targets_BT).item<double>() * static_cast<double>(batch.count * batch.length);
  }
  ranks.all_reduce_sum(sums);
  double total = 0;
  for (const double sum : sums) total += sum;
  return total / static_cast<double>(split.num_tokens() - 1);
}

}  // namespace mobula::train
