/// Rows that can't be read or that a user's function fails on: an end to the run, or skipped up to a limit and written down.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>

#include "mobula/base/json.hpp"

namespace mobula::data {

/// What happens to bad rows.
struct ErrorPolicy {
  std::int64_t max_skipped = 0;  ///< 0: the first one ends the run
  std::filesystem::path
      dead_letter;  ///< gets a JSON object a skipped row: where, operator, reason, row; empty: nothing
};

/// The bad rows of one run. Thread-safe.
class BadRows {
 public:
  explicit BadRows(ErrorPolicy policy) : policy_(std::move(policy)) {}

  bool skips() const { return policy_.max_skipped > 0; }
  /// Notes a row that is left out. Throws Error(corrupt) once there are more than may be, with this one's reason.
  void skip(std::string_view where, std::string_view op, std::string_view reason, Json row);
  std::int64_t num_skipped() const;
  /// Writes the dead-letter file, whole. Called at the end of a run, also of one that failed.
  void write_dead_letter();

 private:
  ErrorPolicy policy_;
  mutable std::mutex mutex_;
  std::int64_t num_skipped_ = 0;
  std::string lines_;
};

}  // namespace mobula::data
