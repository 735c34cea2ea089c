// Compiled with the flags of its instruction set (see this layer's CMakeLists.txt).
#define MOBULA_SIMD_NAME kAvx2Kernels
#define MOBULA_SIMD_TEXT "avx2"
#define MOBULA_SIMD_LANES 8
#define MOBULA_SIMD_REGISTERS 16
#define MOBULA_SIMD_VECTORS 2
#include "mobula/nn/kernels/simd_kernels.inl"
