// For processors with AVX-512 (F, BW, VL, DQ, VNNI).
#include "mobula/nn/decoder/attention_kernels.hpp"
#include "mobula/nn/decoder/cpu_kernel_sets.hpp"
#include "mobula/nn/decoder/rounding_kernels.hpp"
#include "mobula/nn/decoder/stored_kernels.hpp"
// after the kernels
#include "mobula/nn/decoder/kernel_set.inl"

namespace mobula::nn {

constinit const CpuKernels kAvx512Kernels = kernel_set<4, 4>("avx512");

}  // namespace mobula::nn
