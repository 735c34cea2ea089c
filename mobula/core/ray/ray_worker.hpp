/// What runs inside a Ray worker: calls come in as bytes, and the tasks they run have a Runtime on the worker's own
/// connection.
#pragma once

#include "mobula/core/ray/bridge.h"

namespace mobula {

class Runtime;

/// Tells whether this process is a Ray worker that has been given a call.
bool in_ray_worker() noexcept;
/// Returns the plug-in of the worker; null elsewhere.
const RayBridge* ray_worker_bridge() noexcept;
/// Returns the title of the task that this thread runs for Ray, or null.
const char* ray_worker_task() noexcept;

}  // namespace mobula
