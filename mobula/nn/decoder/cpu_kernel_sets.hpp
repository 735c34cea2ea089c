// The compiled sets of kernels, each in a file of its own with its own compiler flags.
#pragma once

#include "mobula/nn/decoder/cpu_kernels.hpp"

namespace mobula::nn {

extern const CpuKernels kBaselineKernels;
#if defined(__x86_64__)
extern const CpuKernels kAvx2Kernels;
extern const CpuKernels kAvx512Kernels;
extern const CpuKernels kAmxKernels;
#endif

}  // namespace mobula::nn
