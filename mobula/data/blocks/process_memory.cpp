#include "mobula/data/blocks/process_memory.hpp"

#include <malloc.h>

#include <cstdlib>

namespace mobula::data {

void keep_memory_warm() {
  ::setenv("ARROW_DEFAULT_MEMORY_POOL", "system", 0);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest that glibc takes
  ::mallopt(M_ARENA_MAX, 4);
}

}  // namespace mobula::data
