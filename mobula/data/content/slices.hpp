/// Figures of parts of a dataset, such as the accuracy on short texts.
///
///     Json figures = slice_figures(rows, {{"short", "length(text) < 20"}, {"no title", "title is null"}}, {"correct"});
///     // [{"slice": "all", "rows": 764, "share": 1.0, "columns": {"correct": {"mean": 0.91, "min": 0, "max": 1, "nulls": 0}}},
///     //  {"slice": "short", ...}]
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/rows/typed_rows.hpp"

namespace mobula::data {

/// Some of the rows: those for which an expression is true, or else those that a function picks.
struct Slice {
  std::string name;
  std::string predicate;  ///< an expression; empty: `picks` tells
  /// Tells of each row of a batch whether it belongs to the slice. Called by one thread at a time.
  std::function<std::vector<bool>(const RecordBatchPointer&)> picks = nullptr;
};

/// Makes a slice of a function of one row, as a struct.
template <class Row, class Function>
Slice slice_of(std::string name, Function function) {
  return {std::move(name), {}, [function = std::move(function)](const RecordBatchPointer& batch) {
            std::vector<bool> picked;
            for (const Row& row : rows_of<Row>(batch)) picked.push_back(function(row));
            return picked;
          }};
}

/// Looks at all rows once: rows, their share of all, and mean, min, max and nulls of columns of numbers or truth values, for
/// all rows and for each slice. Slices may overlap. Throws Error(invalid_argument) for a column that is none of these.
Json slice_figures(const Dataset& dataset, const std::vector<Slice>& slices, const std::vector<std::string>& columns,
                   const RunOptions& options = {});

}  // namespace mobula::data
