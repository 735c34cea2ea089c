/// Calls on their way to Ray: what a task's arguments, needs and attempts come to there.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mobula/core/object.hpp"
#include "mobula/core/ray/bridge.h"
#include "mobula/core/ray/ray_connection.hpp"
#include "mobula/core/ray/ray_engine.hpp"
#include "mobula/core/ray/ray_placement.hpp"
#include "mobula/core/resources.hpp"
#include "mobula/core/task.hpp"

namespace mobula {

/// Returns the object of Ray's that holds an object's value; null where this process holds it.
std::shared_ptr<RayObject> ray_object(Object& object);

/// Returns what a task or an actor sets aside, by name.
template <class Options>
std::map<std::string, double> needs_of(const Options& options) {
  std::map<std::string, double> needs = options.resources;
  needs["cpu"] = options.cpus;
  needs["gpu"] = options.gpus;
  if (options.memory != 0) needs["memory"] = static_cast<double>(options.memory);
  return needs;
}

/// Returns how often a task may still be run, when it has been sent `times` times.
int attempts_left(const Task& task, int times);

/// A call, put together for Ray. Keeps what the pointers in it point at.
struct RayEngine::Outgoing {
  std::string name;
  std::string header;
  std::vector<RayId> references;
  std::vector<std::shared_ptr<RayObject>> kept;
  std::map<std::string, double> needs;
  std::shared_ptr<RayReservation> group;
  int bundle = -1;
  /// Returns it for Ray; valid as long as this is.
  RayCall finish();
  std::vector<RayResource> resources;
};

}  // namespace mobula
