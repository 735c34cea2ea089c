/// Mobula's version.
#pragma once

#include <string_view>

namespace mobula {

/// Returns the version as "major.minor.patch".
std::string_view version() noexcept;

}  // namespace mobula
