// For any processor.
#include "mobula/nn/decoder/attention_kernels.hpp"
#include "mobula/nn/decoder/cpu_kernel_sets.hpp"
#include "mobula/nn/decoder/rounding_kernels.hpp"
#include "mobula/nn/decoder/stored_kernels.hpp"
// after the kernels
#include "mobula/nn/decoder/kernel_set.inl"

namespace mobula::nn {

constinit const CpuKernels kBaselineKernels = kernel_set<2, 2>("baseline");

}  // namespace mobula::nn
