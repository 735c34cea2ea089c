/// Which sources and files went into a run. Internal to this layer.
#pragma once

#include "mobula/base/json.hpp"

namespace mobula::data {

/// Returns what RunStatistics::manifest() gives for a run of nothing.
Json empty_manifest();
/// Adds what RunStatistics::manifest() gave for another part of the same rows.
void add_manifest(Json& sum, const Json& part);
/// Puts what was left in the parts of a run in place of what stood before they were told apart.
Json manifest_of_parts(Json whole, const Json& parts);
/// Turns that into what RunResult::manifest holds.
Json readable_manifest(const Json& manifest);

}  // namespace mobula::data
