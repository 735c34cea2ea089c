// For processors with AVX-512 (F, BW, VL, DQ, VNNI).
#include "mobula/nn/decoder/cpu_kernel_sets.hpp"
#include "mobula/nn/decoder/vector_kernels.hpp"

namespace mobula::nn {

const CpuKernels kAvx512Kernels = {
    .name = "avx512",
    .matmul = {{packed_rows_bytes, pack_rows<false>, run_dot<float, 4, 4>},
               {packed_rows_bytes, pack_rows<true>, run_dot<std::uint16_t, 4, 4>},
               {packed_quantized_bytes, pack_quantized, run_quantized<EightBits, 4, 4>},
               {packed_quantized_bytes, pack_quantized, run_quantized<FourBits, 4, 4>}},
    .attend = attend,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .activate = activate,
    .log_sum_exp = log_sum_exp,
};

}  // namespace mobula::nn
