/// The precision in which a model computes.
#pragma once

#include <string_view>

namespace mobula::nn {

/// fp32: everything in single precision. bf16: matrix products and attention in bfloat16 with
/// single-precision accumulation; parameters, residual stream, normalisation and loss stay in single
/// precision.
enum class Precision { fp32, bf16 };

/// Returns "fp32" or "bf16".
std::string_view to_string(Precision precision) noexcept;
/// Parses "fp32" or "bf16"; throws Error(invalid_argument) otherwise.
Precision parse_precision(std::string_view text);

}  // namespace mobula::nn
