// For processors with AVX2 and FMA; compiled with -mavx2 -mfma.
#include "mobula/nn/decoder/attention_kernels.hpp"
#include "mobula/nn/decoder/cpu_kernel_sets.hpp"
#include "mobula/nn/decoder/rounding_kernels.hpp"
#include "mobula/nn/decoder/stored_kernels.hpp"
// after the kernels
#include "mobula/nn/decoder/kernel_set.inl"

namespace mobula::nn {

constinit const CpuKernels kAvx2Kernels = kernel_set<2, 2>("avx2");

}  // namespace mobula::nn
