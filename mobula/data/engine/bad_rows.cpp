#include "mobula/data/engine/bad_rows.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"

namespace mobula::data {

void BadRows::skip(std::string_view where, std::string_view op, std::string_view reason, Json row) {
  const std::lock_guard lock(mutex_);
  if (num_skipped_ >= policy_.max_skipped) {
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: {}: {} (after {} rows that were skipped)", where, op, reason, num_skipped_),
                "raise on_error.skip, or mend the rows that the dead-letter file lists");
  }
  ++num_skipped_;
  if (policy_.dead_letter.empty()) return;
  lines_ += to_line({{"where", where}, {"operator", op}, {"reason", reason}, {"row", std::move(row)}});
  lines_ += '\n';
}

std::int64_t BadRows::num_skipped() const {
  const std::lock_guard lock(mutex_);
  return num_skipped_;
}

void BadRows::write_dead_letter() {
  const std::lock_guard lock(mutex_);
  if (!policy_.dead_letter.empty()) write_file_atomic(policy_.dead_letter, lines_);
}

}  // namespace mobula::data
