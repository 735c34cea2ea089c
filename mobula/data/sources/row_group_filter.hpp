/// What a Parquet file's statistics tell of a predicate. Internal to this layer.
#pragma once

#include <memory>

#include "mobula/data/expressions/expression.hpp"

namespace parquet {
class RowGroupMetaData;
}

namespace mobula::data {

/// Tells whether any row of the row group may meet the predicate: false only where least and greatest values (or nothing
/// but nulls) rule it out. Knows comparisons of a column with a value, `and` and `or`; all else may be met.
bool may_match(const Expression& predicate, const parquet::RowGroupMetaData& row_group);

}  // namespace mobula::data
