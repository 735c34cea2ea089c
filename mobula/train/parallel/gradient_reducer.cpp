#include "mobula/train/parallel/gradient_reducer.hpp"

#include <fmt/format.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cstring>

#include "mobula/base/error.hpp"
#include "mobula/train/collective/sum.hpp"

namespace mobula::train {
namespace {

/// Big enough that counters cost nothing, small enough that much of the model is summed before backward ends.
constexpr std::size_t kBucketFloats = (std::size_t{1} << 20) / sizeof(float);
/// A cache line: no two ranks sum into the same one.
constexpr std::size_t kAlignment = 16;

std::size_t align(std::size_t floats) {
  return (floats + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

/// Called by autograd when a parameter's gradient is complete.
class GradientReducer::Hook final : public torch::autograd::PostAccumulateGradHook {
 public:
  Hook(GradientReducer& reducer, std::size_t parameter) : reducer_(reducer), parameter_(parameter) {}
  void operator()(const at::Tensor& value) override { reducer_.take(parameter_, value); }

 private:
  GradientReducer& reducer_;
  std::size_t parameter_;
};

GradientReducer::GradientReducer(const std::vector<nn::NamedTensor>& parameters, Communicator& ranks)
    : ranks_(ranks), slots_(parameters.size()), gradients_(parameters.size()) {
  for (const auto& parameter : parameters) parameters_.push_back(parameter.tensor);
  if (ranks.size() == 1) return;

  std::size_t offset = 0;
  for (std::size_t i = parameters_.size(); i-- > 0;) {
    const auto size = static_cast<std::size_t>(parameters_[i].numel());
    if (buckets_.empty() || offset - buckets_.back().begin >= kBucketFloats) buckets_.push_back({offset, offset});
    slots_[i] = {buckets_.size() - 1, offset, size};
    offset += align(size);
    buckets_.back().end = offset;
    ++buckets_.back().num_parameters;
  }
  const auto size = static_cast<std::size_t>(ranks.size());
  for (std::size_t rank = 0; rank < size; ++rank) blocks_.push_back(ranks.allocate<float>(offset).data());
  filled_ = ranks.allocate<SharedCounter>(size).data();
  reduced_ = ranks.allocate<SharedCounter>(size).data();
  released_ = ranks.allocate<SharedCounter>(size).data();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i], std::make_unique<Hook>(*this, i));
  }
}

GradientReducer::~GradientReducer() {
  if (ranks_.size() == 1) return;
  for (const at::Tensor& parameter : parameters_) torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
}

std::uint32_t GradientReducer::mark(std::size_t buckets) const {
  // Counts on over all steps, so that nobody has to set counters back.
  return (step_ - 1) * static_cast<std::uint32_t>(buckets_.size()) + static_cast<std::uint32_t>(buckets);
}

void GradientReducer::arm() {
  armed_ = true;
  ++step_;
  if (ranks_.size() == 1) return;
  num_announced_ = 0;
  num_reduced_ = 0;
  for (Slot& slot : slots_) slot.filled = false;
  for (Bucket& bucket : buckets_) bucket.num_filled = 0;
  // Rank 0's block holds the last step's sums until all have read them.
  if (ranks_.rank() == 0) {
    for (int rank = 0; rank < ranks_.size(); ++rank) released_[rank].wait_for(step_ - 1);
  }
}

void GradientReducer::take(std::size_t parameter, const at::Tensor& value) {
  if (!armed_) return;
  at::Tensor& gradient = value.mutable_grad();
  Slot& slot = slots_[parameter];
  if (slot.filled) throw_internal("a gradient came twice in one backward");
  const at::Tensor dense = gradient.contiguous();
  std::memcpy(blocks_[static_cast<std::size_t>(ranks_.rank())] + slot.offset, dense.const_data_ptr<float>(),
              slot.size * sizeof(float));
  gradient.reset();
  slot.filled = true;
  ++buckets_[slot.bucket].num_filled;
  announce();
  reduce_ready();
}

void GradientReducer::announce() {
  const std::size_t before = num_announced_;
  while (num_announced_ < buckets_.size() &&
         buckets_[num_announced_].num_filled == buckets_[num_announced_].num_parameters) {
    ++num_announced_;
  }
  if (num_announced_ != before) filled_[ranks_.rank()].raise(mark(num_announced_));
}

void GradientReducer::reduce_ready() {
  while (num_reduced_ < num_announced_) {
    for (int rank = 0; rank < ranks_.size(); ++rank) {
      if (!filled_[rank].reached(mark(num_reduced_ + 1))) return;
    }
    reduce(num_reduced_++);
  }
}

void GradientReducer::reduce(std::size_t index) {
  const Bucket& bucket = buckets_[index];
  const auto size = static_cast<std::size_t>(ranks_.size());
  const auto rank = static_cast<std::size_t>(ranks_.rank());
  const std::size_t share = align((bucket.end - bucket.begin + size - 1) / size);
  const std::size_t begin = std::min(bucket.end, bucket.begin + share * rank);
  const std::size_t end = std::min(bucket.end, begin + share);
  std::vector<const float*> sources(size);
  for (std::size_t i = 0; i < size; ++i) sources[i] = blocks_[i] + begin;
  sum_in_order(blocks_[0] + begin, sources, end - begin);
  reduced_[rank].raise(mark(index + 1));
}

std::span<const float* const> GradientReducer::finish() {
  if (!armed_) throw_internal("finish() without arm()");
  armed_ = false;
  if (ranks_.size() == 1) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      at::Tensor& gradient = parameters_[i].mutable_grad();
      if (gradient.defined() && !gradient.is_contiguous()) gradient = gradient.contiguous();
      gradients_[i] = gradient.defined() ? gradient.const_data_ptr<float>() : nullptr;
    }
    return gradients_;
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (!slot.filled) {
      // No part of the loss depends on it here, perhaps it does on another rank.
      std::memset(blocks_[static_cast<std::size_t>(ranks_.rank())] + slot.offset, 0, slot.size * sizeof(float));
      slot.filled = true;
      ++buckets_[slot.bucket].num_filled;
    }
    gradients_[i] = blocks_[0] + slot.offset;
  }
  announce();
  while (num_reduced_ < buckets_.size()) {
    for (int rank = 0; rank < ranks_.size(); ++rank) filled_[rank].wait_for(mark(num_reduced_ + 1));
    reduce(num_reduced_++);
  }
  for (int rank = 0; rank < ranks_.size(); ++rank) reduced_[rank].wait_for(mark(buckets_.size()));
  return gradients_;
}

void GradientReducer::release() {
  if (ranks_.size() == 1) {
    for (const at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
    return;
  }
  released_[ranks_.rank()].raise(step_);
}

}  // namespace mobula::train
