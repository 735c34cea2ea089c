#include "mobula/nn/decoder/cpu_kernels.hpp"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "mobula/base/error.hpp"
#include "mobula/nn/decoder/cpu_kernel_sets.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace mobula::nn {
namespace {

#if defined(__x86_64__)
// Asks Linux for the tile registers, which a process doesn't have by default.
bool request_tiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool bf16 = (d >> 22 & 1) != 0, tiles = (d >> 24 & 1) != 0, bytes = (d >> 25 & 1) != 0;
  return bf16 && tiles && bytes && __builtin_cpu_supports("avx512bf16") && request_tiles();
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
}
#endif

const CpuKernels& choose() {
  if (const char* name = std::getenv("MOBULA_CPU_KERNELS"); name != nullptr && *name != '\0') {
    const CpuKernels* kernels = find_cpu_kernels(name);
    if (kernels == nullptr) {
      throw_invalid(fmt::format("MOBULA_CPU_KERNELS={}: unknown, or this machine can't run them", name),
                    "use amx, avx512, avx2 or baseline");
    }
    return *kernels;
  }
  for (const std::string_view name : {"amx", "avx512", "avx2"}) {
    if (const CpuKernels* kernels = find_cpu_kernels(name)) return *kernels;
  }
  return kBaselineKernels;
}

}  // namespace

const CpuKernels* find_cpu_kernels(std::string_view name) {
  if (name == "baseline") return &kBaselineKernels;
#if defined(__x86_64__)
  if (name == "avx2" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kAvx2Kernels;
  if (name == "avx512" && has_avx512()) return &kAvx512Kernels;
  if (name == "amx" && has_avx512() && has_amx()) return &kAmxKernels;
#endif
  return nullptr;
}

const CpuKernels& cpu_kernels() {
  static const CpuKernels& kernels = choose();
  return kernels;
}

}  // namespace mobula::nn
