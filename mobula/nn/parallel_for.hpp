/// Loops over many numbers on all threads, without libtorch.
#pragma once

#include <cstdint>

namespace mobula::nn {

/// Returns how many threads compute where nobody says otherwise: $OMP_NUM_THREADS, as libtorch reads it, or
/// num_processors().
int default_num_threads();

namespace detail {
void parallel_for(std::int64_t count, std::int64_t piece, const void* work,
                  void (*call)(const void* work, std::int64_t begin, std::int64_t end));
}  // namespace detail

/// Calls work(begin, end) for pieces of [0, count), `piece` numbers each (the last one may have fewer), on
/// default_num_threads() threads, each piece once; returns when all are done. Which thread does what is left open, so what is
/// computed must not depend on it. `work` must not throw. Loops of several threads at once, and loops within loops, run on
/// the thread that calls.
template <class Work>
void parallel_for(std::int64_t count, std::int64_t piece, const Work& work) {
  if (count <= piece) {
    if (count > 0) work(std::int64_t{0}, count);
    return;
  }
  detail::parallel_for(count, piece, &work, [](const void* what, std::int64_t begin, std::int64_t end) {
    (*static_cast<const Work*>(what))(begin, end);
  });
}

}  // namespace mobula::nn
