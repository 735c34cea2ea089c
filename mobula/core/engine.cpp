#include "mobula/core/engine.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "mobula/core/errors.hpp"

namespace mobula {

std::vector<NodeInfo> Engine::nodes() const {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return {{.id = name(), .host = host, .labels = {}, .total = total_resources(), .available = available_resources()}};
}

std::shared_ptr<Reservation> Engine::reserve(const std::vector<Bundle>& /*bundles*/,
                                             const PlacementOptions& /*options*/) {
  throw Error(ErrorCode::unsupported, fmt::format("engine '{}' has no placement groups", name()),
              "ask for the resources of each task instead (docs/engines.md)");
}

}  // namespace mobula
