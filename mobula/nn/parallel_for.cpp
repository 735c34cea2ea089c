#include "mobula/nn/parallel_for.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "mobula/base/processors.hpp"
#include "mobula/nn/decoder/thread_team.hpp"

namespace mobula::nn {

int default_num_threads() {
  static const int number = [] {
    if (const char* variable = std::getenv("OMP_NUM_THREADS")) {
      const std::string_view text(variable);
      int value = 0;
      // A list is for loops within loops: the first number counts.
      const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
      if (read.ec == std::errc() && value >= 1) return std::min(value, 1024);
    }
    return num_processors();
  }();
  return number;
}

namespace detail {

void parallel_for(std::int64_t count, std::int64_t piece, const void* work,
                  void (*call)(const void* work, std::int64_t begin, std::int64_t end)) {
  static std::atomic_flag busy;
  if (busy.test_and_set(std::memory_order_acquire)) return call(work, 0, count);
  // Never destroyed: a thread may still compute while the process exits.
  static auto* const team = new ThreadTeam(default_num_threads());
  team->run(count, piece, [&](std::int64_t begin, std::int64_t end) { call(work, begin, end); });
  busy.clear(std::memory_order_release);
}

}  // namespace detail
}  // namespace mobula::nn
