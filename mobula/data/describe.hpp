/// What a dataset looks like, without Arrow's types: for people, tools and tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/dataset.hpp"

namespace mobula::data {

struct ColumnInfo {
  std::string name;
  std::string type;  ///< as in ReadOptions::types, or Arrow's spelling
};

/// Lists the columns.
std::vector<ColumnInfo> columns_of(const Dataset& dataset);

/// Returns the rows as JSON objects, one a string; NaN and infinities are null, bytes base64. Throws Error(unsupported) for
/// columns that JSON can't hold.
std::vector<std::string> rows_as_json(const Dataset& dataset);

/// Returns the rows as cells of text, null as an empty optional's stand-in "null".
std::vector<std::vector<std::string>> rows_as_text(const Dataset& dataset);

/// Looks at all rows once: {"rows", "columns": [{"name", "type", "nulls", "min", "max", "mean"}]}. `mean` stands with
/// numbers only, `min` and `max` with what has an order.
Json column_statistics(const Dataset& dataset, const RunOptions& options = {});

/// Compares two versions of a dataset by key columns: {"rows": [a, b], "added", "removed", "changed", "same", "columns": {"added",
/// "removed", "retyped"}}. A row is changed where a column that both have differs; rows of one key are compared pair by pair.
/// Throws Error(invalid_argument) for a key that one of them lacks or that has other types.
Json compare_datasets(const Dataset& a, const Dataset& b, const std::vector<std::string>& keys,
                      const RunOptions& options = {});

/// Returns a table of a run's stages (RunResult::statistics), or of one under way: for each its threads and seconds, for
/// each operator rows, bytes, seconds busy and their share of the threads' time, and what threads were blocked on.
std::string run_report(const Json& statistics);

/// Names what a run (or one under way) was limited by: the operator that kept its threads busy for the greatest share of
/// their time. Empty where nothing has begun.
std::string slowest_operator(const Json& statistics);

}  // namespace mobula::data
