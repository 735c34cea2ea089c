#include "mobula/data/operators/failing_rows.hpp"

#include <arrow/record_batch.h>
#include <fmt/format.h>

#include <string_view>

#include "mobula/base/error.hpp"
#include "mobula/data/sinks/format_writer.hpp"

namespace mobula::data {
namespace {

constexpr const char* kHint = "set on_error: {skip: N} to leave out rows that fail";

/// Returns a row as JSON, or as much of it as can be written so.
Json row_as_json(const std::shared_ptr<arrow::RecordBatch>& batch, std::int64_t row) {
  try {
    WriteOptions options;
    options.nan_as_null = true;
    const auto format = make_jsonl_format(batch->schema(), options);
    return parse_json(format->prepare({batch->Slice(row, 1)})->text, "row");
  } catch (const Error&) {
    return nullptr;  // columns that JSON can't hold
  }
}

}  // namespace

std::vector<std::uint32_t> rows_without(const std::vector<std::int64_t>& failed, std::int64_t num_rows) {
  std::vector<std::uint32_t> kept;
  auto next = failed.begin();
  for (std::int64_t row = 0; row < num_rows; ++row) {
    if (next != failed.end() && *next == row) {
      ++next;
    } else {
      kept.push_back(static_cast<std::uint32_t>(row));
    }
  }
  return kept;
}

std::string reason_of(const std::exception& error) {
  const auto* own = dynamic_cast<const Error*>(&error);
  std::string reason = own == nullptr ? error.what() : own->message();
  constexpr std::string_view kLead = "expression: ";
  if (reason.starts_with(kLead)) reason.erase(0, kLead.size());
  return reason;
}

void find_failing_rows(std::int64_t num_rows, const std::function<void(std::int64_t begin, std::int64_t end)>& work,
                       const std::function<void(std::int64_t row, const std::exception& error)>& fail) {
  bool found = false;
  const std::function<void(std::int64_t, std::int64_t)> look = [&](std::int64_t begin, std::int64_t end) {
    try {
      work(begin, end);
      return;
    } catch (const std::exception& error) {
      if (begin == end) throw;
      if (end - begin == 1) {
        if (!found) work(begin, begin);  // rows are not to blame for what fails without any
        found = true;
        fail(begin, error);
        return;
      }
    }
    const std::int64_t middle = begin + (end - begin) / 2;
    look(begin, middle);
    look(middle, end);
  };
  try {
    work(0, num_rows);
  } catch (const std::exception&) {
    if (num_rows <= 1) {
      look(0, num_rows);
      return;
    }
    const std::int64_t middle = num_rows / 2;
    look(0, middle);
    look(middle, num_rows);
    if (!found) throw;
  }
}

void fail_row(const Block& block, std::int64_t row, RowFailure failure, BadRows& bad_rows) {
  const std::string where = block.describe_row(row);
  if (bad_rows.skips()) {
    bad_rows.skip(where, failure.op, failure.reason, std::move(failure.row));
    return;
  }
  throw Error(ErrorCode::task_failed, fmt::format("{}: {}: {}", where, failure.op, failure.reason), kHint);
}

void fail_row(const Block& block, std::int64_t row, const std::string& op, const std::exception& error,
              BadRows& bad_rows) {
  const std::string where = block.describe_row(row);
  const std::string reason = reason_of(error);
  if (bad_rows.skips()) {
    bad_rows.skip(where, op, reason, row_as_json(block.batch, row));
    return;
  }
  const auto* own = dynamic_cast<const Error*>(&error);
  const bool has_hint = own != nullptr && !own->hint().empty();
  // What a row holds is no mistake of whoever wrote the pipeline.
  const bool row_is_wrong = own == nullptr || own->code() == ErrorCode::invalid_argument;
  Error wrapped(row_is_wrong ? ErrorCode::task_failed : own->code(), fmt::format("{}: {}: {}", where, op, reason),
                has_hint ? own->hint() : kHint);
  throw wrapped.caused_by(std::current_exception());
}

}  // namespace mobula::data
