/// Runs that write a folder part by part, so that one that was stopped can go on. Internal to this layer.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "mobula/data/dataset.hpp"
#include "mobula/data/engine/executor.hpp"
#include "mobula/data/plan/plan.hpp"

namespace mobula::data {

/// Writes what a plan makes out of each `write.part_rows` rows of its source into a file part-NNNNN of its own; parts that
/// are there already stay. _parts.json tells what the parts are of, _SUCCESS that all are there. `run` runs the plan once,
/// with PlanContext::part as given. Throws Error(invalid_argument) where the folder holds parts of something else,
/// Error(unsupported) where the plan needs more than one source or all rows at once, or the source can't be read by row.
RunResult write_parts(const std::string& folder, const std::string& format, const WriteOptions& write,
                      const std::function<RunResult(Sink& sink, PartSource part)>& run);

}  // namespace mobula::data
