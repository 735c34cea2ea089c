/// The types of numbers that files and models hold: libtorch's enumeration and its header-only types, without its library.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstddef>

namespace mobula::nn {

/// Returns how many bytes a number takes. Throws Error(unsupported) for types of less than a byte and complex ones.
std::size_t element_size(at::ScalarType type);

/// Tells whether it is a type of real numbers with an exponent.
bool is_floating_point(at::ScalarType type) noexcept;

}  // namespace mobula::nn
