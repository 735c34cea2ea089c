/// Pipelines as files: a source, steps, a sink.
///
///     source: {csv: "in/*.csv"}
///     steps:
///       - filter: "x > 0.5"
///       - with: {s: "upper(s)", x: "x * 2"}
///     sink: {parquet: out/, compression: snappy}     # {..., resume: true, workers: 8}: whole parts by the runtime's workers
///     memory: 256MB
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "mobula/data/dataset.hpp"
#include "mobula/data/plan/part_workers.hpp"

namespace mobula::data {

/// A pipeline that was read and checked, but has not run.
struct Pipeline {
  Dataset dataset;
  std::string output;  ///< empty: the rows are counted
  std::string format;
  WriteOptions write;
  RunOptions run;
  bool needs_runtime = false;  ///< a Runtime must live while it runs: some steps, or whole parts, are its workers' work
  std::optional<PartWorkersOptions> workers;  ///< that make the parts of the output; none: this process does
  std::string rows;  ///< YAML of source and steps, for workers: variables stand for themselves no more
};

/// Reads a pipeline. Values may hold ${VAR} and ${VAR:-default}. Throws Error(invalid_argument) that names file, line and
/// the key or step, with the nearest name for one that is misspelt.
Pipeline read_pipeline(const std::string& file);
/// The same, of a text; `origin` stands for the file in messages.
Pipeline parse_pipeline(std::string_view text, const std::string& origin);

/// Puts a list of steps in YAML behind a dataset; `origin` leads messages. Throws as read_pipeline() does.
Dataset apply_steps(const Dataset& dataset, std::string_view steps, const std::string& origin);
/// Returns such steps with their variables in place, for workers whose environment is another one.
std::string with_variables(std::string_view steps, const std::string& origin);
/// The same as apply_steps(), for what with_variables() gave.
Dataset apply_plain_steps(const Dataset& dataset, std::string_view steps, const std::string& origin);

/// Returns the rows of source and steps as Pipeline::rows holds them. `library` is what known_library() returned where it was read.
Dataset rows_of_pipeline(const std::string& rows, const std::string& origin, const std::string& library);

/// Runs it. Throws Error(unavailable) where it needs a runtime and there is none.
RunResult run_pipeline(const Pipeline& pipeline);

}  // namespace mobula::data
