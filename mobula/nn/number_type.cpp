#include "mobula/nn/number_type.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"

namespace mobula::nn {

std::size_t element_size(at::ScalarType type) {
  switch (type) {
    case at::kBool:
    case at::kByte:
    case at::kChar:
    case at::kFloat8_e4m3fn:
    case at::kFloat8_e5m2:
      return 1;
    case at::kShort:
    case at::kUInt16:
    case at::kHalf:
    case at::kBFloat16:
      return 2;
    case at::kInt:
    case at::kUInt32:
    case at::kFloat:
      return 4;
    case at::kLong:
    case at::kUInt64:
    case at::kDouble:
      return 8;
    default:
      throw Error(ErrorCode::unsupported, fmt::format("numbers of the type {} are not supported", c10::toString(type)));
  }
}

bool is_floating_point(at::ScalarType type) noexcept {
  switch (type) {
    case at::kFloat8_e4m3fn:
    case at::kFloat8_e5m2:
    case at::kHalf:
    case at::kBFloat16:
    case at::kFloat:
    case at::kDouble:
      return true;
    default:
      return false;
  }
}

}  // namespace mobula::nn
