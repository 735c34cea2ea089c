/// Pipelines as files: a source, steps, a sink.
///
///     source: {csv: "in/*.csv"}
///     steps:
///       - filter: "x > 0.5"
///       - with: {s: "upper(s)", x: "x * 2"}
///     sink: {parquet: out/, compression: snappy}
///     memory: 256MB
#pragma once

#include <string>
#include <string_view>

#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// A pipeline that was read and checked, but has not run.
struct Pipeline {
  Dataset dataset;
  std::string output;  ///< empty: the rows are counted
  std::string format;
  WriteOptions write;
  RunOptions run;
  bool needs_runtime = false;  ///< a Runtime must live while it runs: some steps run in its workers
};

/// Reads a pipeline. Values may hold ${VAR} and ${VAR:-default}. Throws Error(invalid_argument) that names file, line and
/// the key or step, with the nearest name for one that is misspelt.
Pipeline read_pipeline(const std::string& file);
/// The same, of a text; `origin` stands for the file in messages.
Pipeline parse_pipeline(std::string_view text, const std::string& origin);

/// Puts a list of steps in YAML behind a dataset; `origin` leads messages. Throws as read_pipeline() does.
Dataset apply_steps(const Dataset& dataset, std::string_view steps, const std::string& origin);

/// Runs it.
RunResult run_pipeline(const Pipeline& pipeline);

}  // namespace mobula::data
