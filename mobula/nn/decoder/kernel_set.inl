// The table of one set of kernels; a file of a set includes it after the kernels and is compiled with the set's flags.
namespace mobula::nn {
namespace {

// kOuts x kRows sums stay in registers: as many as the instruction set has room for.
template <int kOuts, int kRows>
constexpr CpuKernels kernel_set(std::string_view name) {
  return {
      .name = name,
      .matmul = {{1, packed_rows_bytes, pack_rows<false>, run_dot<float, kOuts, kRows>},
                 {1, packed_rows_bytes, pack_rows<true>, run_dot<std::uint16_t, kOuts, kRows>},
                 {1, packed_quantized_bytes, pack_quantized, run_quantized<EightBits, kRows>},
                 {1, packed_quantized_bytes, pack_quantized, run_quantized<FourBits, kRows>},
                 {1, packed_quantized_bytes, pack_stored_rows<EightBits>, run_stored<EightBits, kRows>},
                 {1, packed_quantized_bytes, pack_stored_rows<FourBits>, run_stored<FourBits, kRows>}},
      .round_to_int8 = round_block<128>,
      .round_to_int4 = round_block<8>,
      .attend = attend,
      .layer_norm = layer_norm,
      .rms_norm = rms_norm,
      .activate = activate,
      .log_sum_exp = log_sum_exp,
  };
}

}  // namespace
}  // namespace mobula::nn
