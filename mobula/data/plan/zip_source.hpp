/// Two sources side by side. Internal to this layer.
#pragma once

#include <memory>

#include "mobula/data/sources/source.hpp"

namespace mobula::data {

/// Gives the rows of both, the left one's columns first. Throws Error(invalid_argument) for a column that both have, and
/// where one has more rows than the other, naming both counts.
std::unique_ptr<Source> zip_source(std::unique_ptr<Source> left, std::unique_ptr<Source> right);

}  // namespace mobula::data
