/// Operators that see blocks in the order of the rows. Internal to this layer: names Arrow's types.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/plan/plan.hpp"

namespace mobula::data {

/// Ends the rows after the first `rows`.
std::unique_ptr<OrderedStep> limit_step(std::int64_t rows);
/// Keeps the rows whose numbers, counted from 0, `keep` is true for; `describe` names the step.
std::unique_ptr<OrderedStep> keep_step(std::string describe, std::function<bool(std::uint64_t)> keep);
/// Keeps the rows for which `keep` is true, given the value of a column as a key (see RowKeys) and how many rows of that
/// key came before.
std::unique_ptr<OrderedStep> keep_by_key_step(std::string describe, std::string column,
                                              std::function<bool(const std::string&, std::uint64_t)> keep);

}  // namespace mobula::data
