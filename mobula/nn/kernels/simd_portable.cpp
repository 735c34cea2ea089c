// Compiled with the flags of its instruction set (see this layer's CMakeLists.txt).
#define MOBULA_SIMD_NAME kPortableKernels
#define MOBULA_SIMD_TEXT "portable"
#define MOBULA_SIMD_LANES 4
#define MOBULA_SIMD_REGISTERS 16
#define MOBULA_SIMD_VECTORS 2
#include "mobula/nn/kernels/simd_kernels.inl"
