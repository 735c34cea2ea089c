// Compiled with the flags of its instruction set (see this layer's CMakeLists.txt).
#define MOBULA_SIMD_NAME kAvx512bf16Kernels
#define MOBULA_SIMD_TEXT "avx512bf16"
#define MOBULA_SIMD_LANES 16
#define MOBULA_SIMD_REGISTERS 32
#define MOBULA_SIMD_VECTORS 4
#include "mobula/nn/kernels/simd_kernels.inl"
