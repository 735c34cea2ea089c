#include "mobula/core/wire.hpp"

#include <fmt/format.h>

namespace mobula {

void WireReader::throw_truncated(std::uint64_t wanted) const {
  throw Error(ErrorCode::corrupt,
              fmt::format("encoded value is cut short: {} bytes expected, {} left", wanted, rest_.size()),
              "writer and reader must use the same type and the same build of the program");
}

}  // namespace mobula
