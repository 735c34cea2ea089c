/// Runs that write a folder part by part, so that one that was stopped can go on. Internal to this layer.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mobula/data/dataset.hpp"
#include "mobula/data/engine/executor.hpp"
#include "mobula/data/plan/plan.hpp"
#include "mobula/data/plan/plan_run.hpp"

namespace mobula::data {

/// A plan that is run part by part.
struct PartedRun {
  std::vector<std::unique_ptr<Source>> sources;  ///< that the rows come from, unread: parts are of these
  std::uint64_t memory = 0;                      ///< on which the order of rows may depend where they come in order
  ErrorPolicy on_error;                          ///< over all parts together
  /// Runs the plan once, with PlanContext::part and PlanContext::bad_rows as given.
  std::function<RunFigures(Sink& sink, PartSource part, std::shared_ptr<BadRows> bad_rows)> run;
};

/// Writes what a plan makes out of each `write.part_rows` rows into files part-NNNNN of their own; parts that are there already
/// stay. The rows are those of the source, or, where a node needs other rows before it gives one (sort, limit, join ...), those
/// of the last such node: what stands before it runs again in full, and rows of parts that are there are passed over.
/// _parts.json tells what the parts are of, _part-NNNNN.json that one is whole and which bad rows it left out, _SUCCESS that
/// all are there. The dead-letter file holds the bad rows of all parts, whichever run made them. Throws
/// Error(invalid_argument) where the folder holds parts of something else.
RunResult write_parts(const std::string& folder, const std::string& format, const WriteOptions& write,
                      const PartedRun& parted);

}  // namespace mobula::data
