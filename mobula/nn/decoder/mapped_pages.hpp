/// Pages of mapped files that were read once and won't be again.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "mobula/nn/array.hpp"

namespace mobula::nn {

/// Knows where files were mapped when it was made. Immutable.
class MappedPages {
 public:
  /// Reads /proc/self/maps; where there is none, nothing is given back.
  MappedPages();

  /// Gives whole pages of an array that lies over a mapped file back: they leave this process's memory and are
  /// read from the file again when they are touched. Does nothing to one in other memory.
  void release(const Array& array) const;

 private:
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>>
      ranges_;  // from the first address to behind the last, in order
};

}  // namespace mobula::nn
