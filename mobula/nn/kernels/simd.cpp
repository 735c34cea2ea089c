#include "mobula/nn/kernels/simd.hpp"

#include <array>
#include <cstdlib>
#include <string_view>

namespace mobula::nn::kernels {

extern const SimdKernels kPortableKernels;
#if defined(__x86_64__)
extern const SimdKernels kAvx2Kernels;
extern const SimdKernels kAvx512Kernels;
extern const SimdKernels kAvx512bf16Kernels;
#endif

namespace {

struct Available {
  std::array<const SimdKernels*, 4> tables{};
  int count = 0;
};

Available find_available() {
  Available found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    if (__builtin_cpu_supports("avx512bf16")) found.tables[found.count++] = &kAvx512bf16Kernels;
    found.tables[found.count++] = &kAvx512Kernels;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    found.tables[found.count++] = &kAvx2Kernels;
  }
#endif
  found.tables[found.count++] = &kPortableKernels;
  return found;
}

const Available& available() {
  static const Available found = find_available();
  return found;
}

const SimdKernels& choose() {
  const char* wanted = std::getenv("MOBULA_SIMD");
  for (int i = 0; wanted != nullptr && i < available().count; ++i) {
    if (std::string_view(wanted) == available().tables[i]->name) return *available().tables[i];
  }
  return *available().tables[0];
}

}  // namespace

const SimdKernels& simd_kernels() {
  static const SimdKernels& chosen = choose();
  return chosen;
}

const SimdKernels* const* all_simd_kernels(int& count) {
  count = available().count;
  return available().tables.data();
}

}  // namespace mobula::nn::kernels
