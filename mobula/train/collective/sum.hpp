/// Sums over ranks in a fixed order, so that every run and every rank gets the same bits.
#pragma once

#include <cstddef>
#include <span>

namespace mobula::train {

/// Sets out[i] to sources[0][i] + sources[1][i] + ... , added in this order. `out` may be one of the sources.
void sum_in_order(float* out, std::span<const float* const> sources, std::size_t count);

/// Returns the sum of squares, added up in one fixed order whatever the processor.
double sum_of_squares(const float* values, std::size_t count);

}  // namespace mobula::train
