/// Matrices that a checkpoint keeps in 8 or 4 bits, in the formats of other projects: compressed-tensors' "pack-quantized"
/// (int8 and int4 in groups) and bitsandbytes' NF4 (Dettmers et al., "QLoRA", 2023).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/nn/array.hpp"

namespace mobula::nn {

enum class QuantizedFormat { int8, int4, nf4 };
std::string_view to_string(QuantizedFormat format);

/// A matrix [num_out, num_in]. Immutable once made; the tensors may lie over a mapped file.
struct QuantizedMatrix {
  QuantizedFormat format = QuantizedFormat::int4;
  /// int8, int4: int32 [num_out, words], lowest bits first, each number 128 or 8 too large. nf4: uint8, two numbers a byte,
  /// the first in the high half, row after row without a gap.
  Array digits;
  /// int8, int4: [num_out, groups] in `type`, of runs of num_in / groups inputs. nf4: fp32, the largest magnitudes of runs
  /// of `block` numbers.
  Array scales;
  Array levels;            ///< nf4: fp32 [16], what the digits stand for before scaling
  std::int64_t block = 0;  ///< nf4
  std::int64_t num_out = 0;
  std::int64_t num_in = 0;
  at::ScalarType type = at::kFloat;  ///< of the numbers it stands for

  /// Returns the matrix in its type, rounded to it. Uses parallel_for().
  Array dequantize() const;
  /// Tells whether each row lies by itself, so that select_rows() can be used.
  bool has_rows() const noexcept { return format != QuantizedFormat::nf4; }
  /// Returns the matrix of other rows; `rows` takes and returns a tensor whose first dimension is that of the outputs.
  QuantizedMatrix select_rows(const std::function<Array(const Array& rows)>& rows) const;
};

/// Rounds a matrix [out, in] of fp32, bf16 or fp16: int8 and int4 in groups of 64 inputs with a scale of the matrix's own
/// type each, NF4 in blocks of 64 numbers. Throws Error(invalid_argument) for int8 and int4 where `in` is no multiple of
/// 64. Uses parallel_for().
QuantizedMatrix quantize_matrix(const Array& weight, QuantizedFormat format);

/// Returns the tensors that hold the matrix in a file, `name` ("model.layers.0.mlp.up_proj.weight") as the other project
/// spells its parts.
std::vector<NamedArray> stored_tensors(const std::string& name, const QuantizedMatrix& matrix);

/// Returns the name of the matrix that a stored tensor announces ("X.weight" for "X.weight_packed").
/// Empty for any other tensor.
std::string quantized_name(std::string_view stored);

/// Reads the matrix `name` from its parts; `part` returns a tensor of the file, undefined where there is none. Throws
/// Error(corrupt), led by `file`, for parts that are missing, misshapen or of a wrong type, Error(unsupported) for variants
/// that are not read: zero points, reordered inputs, other widths.
std::shared_ptr<const QuantizedMatrix> read_quantized(const std::string& file, const std::string& name,
                                                      const std::function<Array(const std::string& name)>& part);

/// Returns the ends of the names of a matrix's parts, after the module's name.
const std::vector<std::string>& quantized_part_names();

}  // namespace mobula::nn
