#include "mobula/base/version.hpp"

namespace mobula {

std::string_view version() noexcept {
  return MOBULA_VERSION;
}

}  // namespace mobula
