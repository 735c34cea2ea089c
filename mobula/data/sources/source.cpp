#include "mobula/data/sources/source.hpp"

#include <arrow/record_batch.h>
#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/take_rows.hpp"

namespace mobula::data {

std::string NumberedRows::describe(std::int64_t row) const {
  return fmt::format("{}: row {}", *file_, row + 1);
}

std::string Block::describe_row(std::int64_t row) const {
  if (origin != nullptr) return origin->describe(number_of(row));
  if (file != nullptr) return *file;
  return fmt::format("row {} of block {}", row + 1, number + 1);
}

void Block::pick(std::span<const std::uint32_t> kept, std::string_view what) {
  const auto in_place = [row = std::uint32_t{0}](std::uint32_t number) mutable { return number == row++; };
  if (static_cast<std::int64_t>(kept.size()) == batch->num_rows() && std::all_of(kept.begin(), kept.end(), in_place))
    return;
  batch = take_rows(batch, kept, what);
  if (origin == nullptr) return;
  auto numbers = std::make_shared<std::vector<std::int64_t>>();
  numbers->reserve(kept.size());
  for (const std::uint32_t row : kept) numbers->push_back(number_of(row));
  rows = std::move(numbers);
}

void Block::replace(std::shared_ptr<arrow::RecordBatch> changed, const std::optional<std::vector<std::int64_t>>& from) {
  if (from && origin != nullptr) {
    auto numbers = std::make_shared<std::vector<std::int64_t>>();
    numbers->reserve(from->size());
    for (const std::int64_t row : *from) {
      if (row < 0 || row >= batch->num_rows()) {
        throw Error(ErrorCode::task_failed,
                    fmt::format("a row was made of row {} of a batch of {} rows", row, batch->num_rows()));
      }
      numbers->push_back(number_of(row));
    }
    rows = std::move(numbers);
  } else if (changed->num_rows() != batch->num_rows()) {
    origin = nullptr;
    rows = nullptr;
  }
  batch = std::move(changed);
}

void Block::slice(std::int64_t from, std::int64_t to) {
  if (rows != nullptr) {
    rows = std::make_shared<const std::vector<std::int64_t>>(rows->begin() + from, rows->begin() + to);
  } else {
    first_row += from;
  }
  batch = batch->Slice(from, to - from);
}

std::vector<PiecePlace> Source::places() {
  throw Error(ErrorCode::unsupported, fmt::format("{}: its rows can't be read by number", describe()),
              "write them to Parquet first, and read that");
}

std::unique_ptr<Piece> Source::open(const PiecePlace&) const {
  throw_internal("a place in a source that has none");
}

}  // namespace mobula::data
