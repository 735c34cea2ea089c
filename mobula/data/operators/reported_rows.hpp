/// Bad rows that were met where a batch was worked on, such as in another process: they come back with it. Internal to this
/// layer.
#pragma once

#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// Returns a batch that carries what BadRows::lines() gave, where "where" is the number of a row in the batch that went in.
RecordBatchPointer with_bad_rows(const RecordBatchPointer& batch, const std::vector<std::string>& lines);

/// Takes that out of a batch: [{"where", "operator", "reason", "row"}].
Json take_bad_rows(RecordBatchPointer& batch);

}  // namespace mobula::data
