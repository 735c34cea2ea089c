/// Pages of mapped files that were read once and won't be again.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace mobula::nn {

/// Knows where files were mapped when it was made. Immutable.
class MappedPages {
 public:
  /// Reads /proc/self/maps; where there is none, nothing is given back.
  MappedPages();

  /// Gives whole pages of a contiguous tensor that lies over a mapped file back: they leave this process's memory and are
  /// read from the file again when they are touched. Does nothing to a tensor in other memory.
  void release(const at::Tensor& tensor) const;

 private:
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>>
      ranges_;  // from the first address to behind the last, in order
};

}  // namespace mobula::nn
