/// How a call looks on its way to a Ray worker: a header that names library and function and carries the small
/// arguments, and references to objects that Ray brings along.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/core/function.hpp"
#include "mobula/core/options.hpp"
#include "mobula/core/ray/bridge.h"
#include "mobula/core/wire.hpp"

namespace mobula {

/// Values up to this size travel with the call; Ray itself draws the line here (max_direct_call_object_size).
constexpr std::size_t kRayInlineBytes = 100 << 10;

/// What a worker is told of a call beside its arguments.
struct RayCallHeader {
  std::string key;     ///< of the function
  std::string title;   ///< of the task, for people
  std::string caller;  ///< the function that made the call, or "the program"
  int retries = 0;     ///< how often it runs again when it throws
  std::vector<std::string> retry_on;
  Variables environment;          ///< set while it runs
  std::vector<RayId> references;  ///< objects that come with it
};
void encode(WireWriter& out, const RayCallHeader& header);
RayCallHeader decode_ray_call_header(WireReader& in);

/// Returns the library that holds a function, as its path. Throws Error(unsupported) for one of an executable.
std::string library_of(const FunctionEntry& function);

/// Tells in a worker how the engine's own calls end.
extern "C" void mobula_ray_execute(const RayBridge* bridge, RayBytes header, const RayBuffer* objects,
                                   std::size_t num_objects, void** actor, RayBytes* result);

}  // namespace mobula
