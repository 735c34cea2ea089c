#include "mobula/nn/precision.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"

namespace mobula::nn {

std::string_view to_string(Precision precision) noexcept {
  return precision == Precision::fp32 ? "fp32" : "bf16";
}

Precision parse_precision(std::string_view text) {
  if (text == "fp32") return Precision::fp32;
  if (text == "bf16") return Precision::bf16;
  throw_invalid(fmt::format("precision '{}' is unknown", text), "use fp32 or bf16");
}

}  // namespace mobula::nn
