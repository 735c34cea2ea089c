/// Free ranges of a file or of address space: given back in any order, merged with their neighbours, taken first fit.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace mobula {

/// Not thread-safe.
class FreeRanges {
 public:
  /// Takes `size` units out of the lowest range that holds as many; returns where they begin, or nothing.
  std::optional<std::uint64_t> take(std::uint64_t size);
  /// Gives back units that are not free.
  void give(std::uint64_t offset, std::uint64_t size);
  void clear() noexcept { by_offset_.clear(); }
  std::size_t count() const noexcept { return by_offset_.size(); }

 private:
  std::map<std::uint64_t, std::uint64_t> by_offset_;  ///< sizes
};

}  // namespace mobula
