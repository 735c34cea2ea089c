/// Rows that can't be read, computed with, or that a user's function fails on: an end to the run, or skipped up to a limit
/// and written down.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/base/json.hpp"

namespace mobula::data {

/// What happens to bad rows.
struct ErrorPolicy {
  std::int64_t max_skipped = 0;  ///< 0: the first one ends the run
  std::filesystem::path
      dead_letter;  ///< gets a JSON object a skipped row: where, operator, reason, row; empty: nothing
};

/// The bad rows of one run, or of one part of it. Thread-safe.
class BadRows {
 public:
  /// `whole` is that of the run whose part this one is: the limit is on both together, and on all its other parts.
  explicit BadRows(ErrorPolicy policy, std::shared_ptr<BadRows> whole = nullptr)
      : policy_(std::move(policy)), whole_(std::move(whole)) {}

  bool skips() const { return policy_.max_skipped > 0; }
  /// Notes a row that is left out. Throws Error(corrupt) once there are more than may be, with this one's reason.
  void skip(std::string_view where, std::string_view op, std::string_view reason, Json row);
  /// Counts rows that an earlier run has skipped. Throws Error(corrupt) where there are more than may be.
  void add_skipped(std::int64_t rows);
  /// Returns how many rows were skipped; of a whole run, those of its parts included.
  std::int64_t num_skipped() const;
  /// Returns what was noted here, parts not included: a line of the dead-letter file for each row, without its end.
  std::vector<std::string> lines() const;

 private:
  /// Takes one of the rows that may be skipped; false where all were.
  bool take_one();

  ErrorPolicy policy_;
  std::shared_ptr<BadRows> whole_;
  mutable std::mutex mutex_;
  std::int64_t num_skipped_ = 0;
  std::vector<std::string> lines_;
};

/// Throws Error(corrupt): one more row is bad than the `max_skipped` that may be.
[[noreturn]] void throw_too_many_bad_rows(std::string_view where, std::string_view op, std::string_view reason,
                                          std::int64_t max_skipped);

/// Writes a dead-letter file, whole, where the policy names one. Called at the end of a run, also of one that failed.
void write_dead_letter(const ErrorPolicy& policy, const std::vector<std::string>& lines);

}  // namespace mobula::data
