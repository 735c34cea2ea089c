/// Sums gradients over ranks while backward is still running.
///
/// Gradients are packed into buckets, in the order in which backward makes them. As soon as all ranks have filled a
/// bucket, each sums its own part of it over all ranks, in rank order; it looks for such buckets whenever it has made a
/// gradient itself, so that no thread waits and none is added (Li et al., "PyTorch Distributed", VLDB 2020, has the buckets).
/// Results lie in shared memory: each sum is computed once and read by all.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "mobula/nn/module.hpp"
#include "mobula/train/collective/communicator.hpp"

namespace mobula::train {

/// Owned by one rank; all ranks make theirs in lock step. Not thread-safe. Hooks stay on the parameters for as long as it
/// lives.
class GradientReducer {
 public:
  /// Takes shared memory for one copy of all gradients a rank. With one rank it does nothing but hand out gradients.
  GradientReducer(const std::vector<nn::NamedTensor>& parameters, Communicator& ranks);
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;
  ~GradientReducer();

  /// Says that the next backward is the step's last: its gradients, together with what earlier ones left in the
  /// parameters, are summed over ranks.
  void arm();
  /// Waits for all sums. Returns one pointer a parameter to its summed gradient, null for a parameter that got none; they
  /// hold until release().
  std::span<const float* const> finish();
  /// Gives the gradients back. Call it in every step, behind finish().
  void release();

 private:
  class Hook;
  struct Slot {
    std::size_t bucket = 0;
    std::size_t offset = 0;  ///< floats from the beginning of a rank's block
    std::size_t size = 0;
    bool filled = false;
  };
  struct Bucket {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t num_parameters = 0;
    std::size_t num_filled = 0;
  };

  void take(std::size_t parameter, const at::Tensor& value);
  void announce();
  void reduce_ready();
  void reduce(std::size_t bucket);
  std::uint32_t mark(std::size_t buckets) const;

  std::vector<at::Tensor> parameters_;
  Communicator& ranks_;
  std::vector<Slot> slots_;            ///< one a parameter
  std::vector<Bucket> buckets_;        ///< in the order of backward
  std::vector<float*> blocks_;         ///< each rank's gradients; the sums replace rank 0's
  SharedCounter* filled_ = nullptr;    ///< one a rank: buckets filled so far
  SharedCounter* reduced_ = nullptr;   ///< one a rank: buckets of which its part is summed
  SharedCounter* released_ = nullptr;  ///< one a rank: steps whose sums it has read
  std::uint32_t step_ = 0;
  std::size_t num_announced_ = 0;
  std::size_t num_reduced_ = 0;
  bool armed_ = false;
  std::vector<const float*> gradients_;
};

}  // namespace mobula::train
