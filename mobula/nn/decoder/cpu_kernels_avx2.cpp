// For processors with AVX2 and FMA; compiled with -mavx2 -mfma.
#include "mobula/nn/decoder/cpu_kernel_sets.hpp"
#include "mobula/nn/decoder/vector_kernels.hpp"

namespace mobula::nn {

const CpuKernels kAvx2Kernels = {
    .name = "avx2",
    .matmul = {{packed_rows_bytes, pack_rows<false>, run_dot<float, 2, 2>},
               {packed_rows_bytes, pack_rows<true>, run_dot<std::uint16_t, 2, 2>},
               {packed_quantized_bytes, pack_quantized, run_quantized<EightBits, 2, 2>},
               {packed_quantized_bytes, pack_quantized, run_quantized<FourBits, 2, 2>}},
    .attend = attend,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .activate = activate,
    .log_sum_exp = log_sum_exp,
};

}  // namespace mobula::nn
