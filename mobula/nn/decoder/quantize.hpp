/// Weights rounded to 8 or 4 bits in groups, as the decoder's kernels read them.
#pragma once

#include <cstdint>
#include <optional>

#include "mobula/nn/decoder/cpu_kernels.hpp"
#include "mobula/nn/decoder/huge_pages.hpp"
#include "mobula/nn/quantized_matrix.hpp"

namespace mobula::nn {

struct QuantizedWeight {
  Array data;    ///< uint8 [blocks, groups, bytes]; see WeightView
  Array scales;  ///< fp32 [blocks, groups, 16]
  std::int64_t num_out = 0;
};

/// Rounds a matrix [out, in] to the nearest multiples of one scale a group of kQuantGroup inputs: the largest magnitude
/// over 127 (int8), or the largest value over -8 (int4, so that it is met exactly). `type` is int8 or int4. The result
/// lies in `pages`. A group with a number that isn't finite has a scale of NaN. Uses parallel_for().
QuantizedWeight quantize(const Array& weight, WeightType type, HugePages& pages,
                         const CpuKernels& kernels = cpu_kernels());

/// Returns the type as which kernels can run a checkpoint's matrix without rounding it anew: int8 or int4 in groups of a
/// multiple of kQuantGroup inputs. None for others.
std::optional<WeightType> type_of(const QuantizedMatrix& matrix);

/// Returns the type as which kernels can run a checkpoint's matrix where it lies, stored_int8 or stored_int4. None for others.
std::optional<WeightType> stored_type_of(const QuantizedMatrix& matrix);

/// Returns the scales of such a matrix as kernels read them; valid as long as the matrix.
StoredScales stored_scales(const QuantizedMatrix& matrix);

/// Lays a matrix that type_of() knows out for the kernels, in `pages`; the numbers stay what they are. Uses parallel_for().
QuantizedWeight rearrange(const QuantizedMatrix& matrix, HugePages& pages);

/// Returns the fp32 matrix [out, num_in] that a quantized one stands for.
Array dequantize(const QuantizedWeight& weight, WeightType type, std::int64_t num_in);

}  // namespace mobula::nn
