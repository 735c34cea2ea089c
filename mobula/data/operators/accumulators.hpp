/// The states of groupby's aggregates. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// The state of one aggregate over all groups.
class Accumulator {
 public:
  virtual ~Accumulator() = default;
  /// Adds the rows of a batch; `groups` tells each row's group, or -1 for rows to leave alone. Groups never shrink.
  virtual void add(const arrow::Array& column, const std::vector<std::int64_t>& groups, std::size_t num_groups) = 0;
  /// Returns one value a group; null where no row was ever added.
  virtual std::shared_ptr<arrow::Array> finish() = 0;
  /// Returns the bytes of state that grew beside a fixed number a group.
  virtual std::int64_t extra_bytes() const { return 0; }
};

/// Makes the state of an aggregate over a column of `type`. Throws Error(invalid_argument) for an unknown function, or one
/// that does not go with the type.
std::unique_ptr<Accumulator> make_accumulator(const Aggregate& aggregate, const arrow::DataType& type);

}  // namespace mobula::data
