#include "mobula/text/pieces.hpp"

#include <algorithm>

namespace mobula::text {

void append_split(std::vector<Piece>& out, std::uint32_t base, std::vector<Stretch>& stretches,
                  SplitBehavior behavior) {
  const auto emit = [&](std::uint32_t begin, std::uint32_t end) {
    if (begin < end) out.push_back({base + begin, base + end, -1});
  };
  switch (behavior) {
    case SplitBehavior::removed:
      for (const Stretch& s : stretches) {
        if (!s.matched) emit(s.begin, s.end);
      }
      return;
    case SplitBehavior::isolated:
      for (const Stretch& s : stretches) emit(s.begin, s.end);
      return;
    case SplitBehavior::contiguous:
    case SplitBehavior::merged_with_previous: {
      const bool contiguous = behavior == SplitBehavior::contiguous;
      bool previous = false;
      bool open = false;
      std::uint32_t begin = 0;
      std::uint32_t end = 0;
      for (const Stretch& s : stretches) {
        const bool joins = contiguous ? s.matched == previous : s.matched && !previous;
        if (!joins || !open) {
          emit(begin, end);
          begin = s.begin;
          open = true;
        }
        end = s.end;
        previous = s.matched;
      }
      emit(begin, end);
      return;
    }
    case SplitBehavior::merged_with_next: {
      const std::size_t first = out.size();
      bool previous = false;
      bool open = false;
      std::uint32_t begin = 0;
      std::uint32_t end = 0;
      for (auto s = stretches.rbegin(); s != stretches.rend(); ++s) {
        if (!(s->matched && !previous) || !open) {
          emit(begin, end);
          end = s->end;
          open = true;
        }
        begin = s->begin;
        previous = s->matched;
      }
      emit(begin, end);
      std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
      return;
    }
  }
}

}  // namespace mobula::text
