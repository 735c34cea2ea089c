/// The rows of a batch on which work fails: found, and left out or the end of the run. Internal to this layer.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "mobula/data/engine/bad_rows.hpp"
#include "mobula/data/sources/source.hpp"

namespace mobula::data {

/// Calls `work(begin, end)` for all rows, then for halves of those on which it throws, down to single rows; these go to
/// `fail`, in order. Throws what `work` throws where no rows are to blame: where it fails on none, too, or on no row alone.
void find_failing_rows(std::int64_t num_rows, const std::function<void(std::int64_t begin, std::int64_t end)>& work,
                       const std::function<void(std::int64_t row, const std::exception& error)>& fail);

/// Returns the numbers of a batch's rows but for those that failed, which are in order.
std::vector<std::uint32_t> rows_without(const std::vector<std::int64_t>& failed, std::int64_t num_rows);

/// Says what went wrong, without the hint and without what is said beside it.
std::string reason_of(const std::exception& error);

/// What one row failed with.
struct RowFailure {
  std::string op;
  std::string reason;
  Json row;  ///< as much of it as can be written as JSON
};

/// Notes a row of a block in `bad_rows`; where bad rows end the run, throws Error(task_failed) that says where it came from.
void fail_row(const Block& block, std::int64_t row, RowFailure failure, BadRows& bad_rows);

/// Notes a row of a block that operator `op` failed on in `bad_rows`; where bad rows end the run, throws an Error that is led
/// by where the row came from, and `op`. One that is no Error, or an Error(invalid_argument), becomes
/// Error(task_failed).
void fail_row(const Block& block, std::int64_t row, const std::string& op, const std::exception& error,
              BadRows& bad_rows);

}  // namespace mobula::data
