// For processors with AMX tiles for bfloat16 and 8 bits (Sapphire Rapids and later); the rest as for AVX-512.
#include "mobula/nn/decoder/attention_tiles.hpp"
#include "mobula/nn/decoder/cpu_kernel_sets.hpp"
#include "mobula/nn/decoder/half_tiles.hpp"
#include "mobula/nn/decoder/rounding_kernels.hpp"
#include "mobula/nn/decoder/stored_tiles.hpp"
// after the kernels
#include "mobula/nn/decoder/kernel_set.inl"

namespace mobula::nn {
namespace {

constexpr int kRows = 4;  // that pass the weights of 8 and 4 bits together where they are few

constexpr CpuKernels with_tiles(CpuKernels kernels) {
  kernels.matmul[static_cast<int>(WeightType::bf16)] = {kRowGroup, packed_pairs_bytes, pack_pairs, run_tiles};
  kernels.matmul[static_cast<int>(WeightType::int8)] = {kTileRows, packed_quantized_bytes, pack_quantized_tiles,
                                                        run_quantized_tiles<EightBits, kRows>};
  kernels.matmul[static_cast<int>(WeightType::int4)] = {kTileRows, packed_quantized_bytes, pack_quantized_tiles,
                                                        run_quantized_tiles<FourBits, kRows>};
  kernels.matmul[static_cast<int>(WeightType::stored_int8)] = {
      kTileRows, packed_stored_bytes, pack_stored_tiles<EightBits>, run_stored_tiles<EightBits>};
  kernels.matmul[static_cast<int>(WeightType::stored_int4)] = {kTileRows, packed_stored_bytes,
                                                               pack_stored_tiles<FourBits>, run_stored_tiles<FourBits>};
  kernels.attend = attend_tiles;
  return kernels;
}

}  // namespace

constinit const CpuKernels kAmxKernels = with_tiles(kernel_set<4, kRows>("amx"));

}  // namespace mobula::nn
