#include "mobula/base/descriptor.hpp"

#include <unistd.h>

namespace mobula {

void Descriptor::reset() noexcept {
  if (number_ >= 0) ::close(number_);
  number_ = -1;
}

}  // namespace mobula
