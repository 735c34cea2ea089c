#include "mobula/core/ray/ray_actor.hpp"

#include <cstdint>

namespace mobula {

void RayActor::abandon() noexcept {
  if (id_.size != 0 && !borrowed_ && alive() && !options().detached) {
    // A header without a library is the call to leave, made after those before it.
    const std::uint32_t nothing = 0;
    RayCall call{};
    call.name = "end";
    call.header = {reinterpret_cast<const char*>(&nothing), sizeof nothing};
    call.bundle = -1;
    RayId result{};
    RayFailure failure{};
    connection_->while_open([&](const RayBridge& bridge) {
      if (bridge.call_actor(&id_, &call, &result, &failure) == kRayNone) bridge.release_id(&result);
    });
  }
  delete this;
}

}  // namespace mobula
