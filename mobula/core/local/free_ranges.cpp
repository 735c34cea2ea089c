#include "mobula/core/local/free_ranges.hpp"

#include <iterator>

namespace mobula {

std::optional<std::uint64_t> FreeRanges::take(std::uint64_t size) {
  for (auto at = by_offset_.begin(); at != by_offset_.end(); ++at) {
    if (at->second < size) continue;
    const std::uint64_t offset = at->first;
    const std::uint64_t left = at->second - size;
    const auto next = by_offset_.erase(at);
    if (left != 0) by_offset_.emplace_hint(next, offset + size, left);
    return offset;
  }
  return std::nullopt;
}

void FreeRanges::give(std::uint64_t offset, std::uint64_t size) {
  auto next = by_offset_.lower_bound(offset);
  if (next != by_offset_.end() && offset + size == next->first) {
    size += next->second;
    next = by_offset_.erase(next);
  }
  if (next != by_offset_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += size;
      return;
    }
  }
  by_offset_.emplace_hint(next, offset, size);
}

}  // namespace mobula
