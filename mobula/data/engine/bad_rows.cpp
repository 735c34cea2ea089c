#include "mobula/data/engine/bad_rows.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"

namespace mobula::data {

void BadRows::skip(std::string_view where, std::string_view op, std::string_view reason, Json row) {
  if (!(whole_ == nullptr ? *this : *whole_).take_one())
    throw_too_many_bad_rows(where, op, reason, policy_.max_skipped);
  const std::lock_guard lock(mutex_);
  if (whole_ != nullptr) ++num_skipped_;
  // A part's are kept with it: the run that ends may want them where this one did not.
  if (policy_.dead_letter.empty() && whole_ == nullptr) return;
  lines_.push_back(to_line({{"where", where}, {"operator", op}, {"reason", reason}, {"row", std::move(row)}}));
}

bool BadRows::take_one() {
  const std::lock_guard lock(mutex_);
  if (num_skipped_ >= policy_.max_skipped) return false;
  ++num_skipped_;
  return true;
}

void BadRows::add_skipped(std::int64_t rows) {
  const std::lock_guard lock(mutex_);
  num_skipped_ += rows;
  if (num_skipped_ <= policy_.max_skipped) return;
  throw Error(ErrorCode::corrupt,
              fmt::format("on_error.skip: {} rows may be skipped, and the parts that are there have left out {}",
                          policy_.max_skipped, num_skipped_),
              "raise on_error.skip, or write to another folder");
}

std::int64_t BadRows::num_skipped() const {
  const std::lock_guard lock(mutex_);
  return num_skipped_;
}

std::vector<std::string> BadRows::lines() const {
  const std::lock_guard lock(mutex_);
  return lines_;
}

void throw_too_many_bad_rows(std::string_view where, std::string_view op, std::string_view reason,
                             std::int64_t max_skipped) {
  throw Error(ErrorCode::corrupt,
              fmt::format("{}: {}: {} (after {} rows that were skipped)", where, op, reason, max_skipped),
              "raise on_error.skip, or mend the rows that the dead-letter file lists");
}

void write_dead_letter(const ErrorPolicy& policy, const std::vector<std::string>& lines) {
  if (policy.dead_letter.empty()) return;
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  write_file_atomic(policy.dead_letter, text);
}

}  // namespace mobula::data
