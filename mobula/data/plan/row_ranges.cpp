#include "mobula/data/plan/row_ranges.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/data/sources/block_piece.hpp"

namespace mobula::data {
namespace {

/// Rows [begin, end) of a piece of `num_rows`, counted as it gives them or leaves them out.
class RowsOfPiece : public Piece {
 public:
  RowsOfPiece(std::unique_ptr<Piece> piece, std::int64_t begin, std::int64_t end, std::int64_t num_rows,
              std::string source)
      : piece_(std::move(piece)), begin_(begin), end_(std::min(end, num_rows)), source_(std::move(source)) {}

  Block read() override {
    while (next_ < end_) {
      Block block = piece_->read();
      if (block.batch == nullptr) {
        // A part with fewer rows than were counted would be kept for good.
        throw Error(
            ErrorCode::corrupt,
            fmt::format("{}: has changed since its rows were counted: {} of {} are gone", source_, end_ - next_, end_),
            "leave the files alone while they are read, and begin anew");
      }
      // Rows that can't be read have their numbers, too: each belongs to one range.
      const std::int64_t rows = block.batch->num_rows() + static_cast<std::int64_t>(block.unread.size());
      const std::int64_t from = std::clamp<std::int64_t>(begin_ - next_, 0, rows);
      const std::int64_t to = std::clamp<std::int64_t>(end_ - next_, 0, rows);
      next_ += rows;
      if (from >= to) continue;
      const auto unread_before = [&block](std::int64_t position) {
        return std::partition_point(block.unread.begin(), block.unread.end(),
                                    [position](const UnreadRow& row) { return row.position < position; });
      };
      const auto first = unread_before(from);
      const auto last = unread_before(to);
      block.slice(from - (first - block.unread.begin()), to - (last - block.unread.begin()));
      block.unread = {first, last};
      return block;
    }
    return {};
  }

 private:
  std::unique_ptr<Piece> piece_;
  std::int64_t begin_;
  std::int64_t end_;
  std::string source_;
  std::int64_t next_ = 0;
};

/// Rows [begin, end) of a source, in pieces.
class NumberedRange : public Source {
 public:
  NumberedRange(std::shared_ptr<Source> source, PieceRun pieces, std::int64_t begin, std::int64_t end)
      : source_(std::move(source)),
        pieces_(std::move(pieces)),
        begin_(begin),
        end_(end),
        files_(source_->files()),
        first_(pieces_.first_row) {}

  std::shared_ptr<arrow::Schema> schema() override { return source_->schema(); }
  std::unique_ptr<Piece> next() override {
    schema();
    while (next_ < pieces_.places.size() && first_ < end_) {
      const PiecePlace& place = pieces_.places[next_++];
      const std::int64_t first = first_;
      first_ += static_cast<std::int64_t>(place.rows);
      if (first_ <= begin_) continue;
      return std::make_unique<RowsOfPiece>(source_->open(place), begin_ - first, end_ - first,
                                           static_cast<std::int64_t>(place.rows),
                                           place.file < files_.size() ? files_[place.file] : source_->describe());
    }
    return nullptr;
  }
  std::string describe() const override { return source_->describe(); }
  std::vector<std::string> files() const override { return files_; }
  /// All ranges of a source are read for the same columns.
  void push_columns(const std::vector<std::string>& columns) override { source_->push_columns(columns); }

 private:
  std::shared_ptr<Source> source_;
  PieceRun pieces_;
  std::int64_t begin_;
  std::int64_t end_;
  std::vector<std::string> files_;
  std::size_t next_ = 0;
  std::int64_t first_;  ///< row of the next place
};

}  // namespace

std::unique_ptr<Source> rows_of_pieces(std::shared_ptr<Source> source, PieceRun pieces, std::int64_t begin,
                                       std::int64_t end) {
  return std::make_unique<NumberedRange>(std::move(source), std::move(pieces), begin, end);
}

/// A source opened once for all ranges.
struct RowRanges::Numbered {
  std::shared_ptr<Source> source;
  std::vector<PiecePlace> places;
  std::vector<std::int64_t> first_rows;  ///< of each place, and one more: the number of rows
};

/// A source that is read from front to back over all ranges.
struct RowRanges::Ordered {
  std::unique_ptr<Source> source;
  std::unique_ptr<Piece> piece;
  Block block;             ///< rows that were read and not given
  std::int64_t first = 0;  ///< number of the first of them

  /// Makes a row the first of those at hand; false where there is none.
  bool move_to(std::int64_t row) {
    while (true) {
      if (block.batch != nullptr) {
        const std::int64_t rows = block.batch->num_rows();
        if (row < first + rows) {
          if (row > first) block.slice(row - first, rows);
          first = row;
          return true;
        }
        first += rows;
        block = {};
      }
      if (piece == nullptr && (piece = source->next()) == nullptr) return false;
      block = piece->read();
      if (block.batch == nullptr) piece.reset();
    }
  }
};

class RowRanges::OrderedRange : public Source {
 public:
  OrderedRange(std::shared_ptr<Ordered> shared, std::int64_t begin, std::int64_t end)
      : shared_(std::move(shared)), next_(begin), end_(end) {}

  std::shared_ptr<arrow::Schema> schema() override { return shared_->source->schema(); }
  std::unique_ptr<Piece> next() override {
    if (next_ >= end_ || !shared_->move_to(next_)) return nullptr;
    Block block = shared_->block;
    const std::int64_t rows = std::min(block.batch->num_rows(), end_ - next_);
    block.slice(0, rows);
    next_ += rows;
    return std::make_unique<BlockPiece>(std::move(block));
  }
  std::string describe() const override { return shared_->source->describe(); }
  std::vector<const StretchStatistics*> handed_on_by() const override { return shared_->source->handed_on_by(); }

 private:
  std::shared_ptr<Ordered> shared_;
  std::int64_t next_;
  std::int64_t end_;
};

RowRanges::RowRanges() = default;
RowRanges::~RowRanges() = default;

bool RowRanges::open_by_number(const OpenSource& open) {
  auto numbered = std::make_shared<Numbered>();
  numbered->source = open();
  numbered->source->schema();
  try {
    numbered->places = numbered->source->places();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::unsupported) throw;
    return false;
  }
  numbered->first_rows.push_back(0);
  for (const PiecePlace& place : numbered->places)
    numbered->first_rows.push_back(numbered->first_rows.back() + static_cast<std::int64_t>(place.rows));
  numbered_ = std::move(numbered);
  return true;
}

void RowRanges::open_in_order(const OpenSource& open) {
  ordered_ = std::make_shared<Ordered>();
  ordered_->source = open();
}

std::int64_t RowRanges::num_rows() const {
  return numbered_ == nullptr ? -1 : numbered_->first_rows.back();
}

bool RowRanges::has_row(std::int64_t row) {
  return numbered_ == nullptr ? ordered_->move_to(row) : row < numbered_->first_rows.back();
}

PieceRun RowRanges::pieces(std::int64_t begin, std::int64_t end) const {
  const auto& rows = numbered_->first_rows;
  // The first piece is that which ends behind `begin`, the last one that which begins before `end`.
  const auto first = std::upper_bound(rows.begin() + 1, rows.end(), begin) - rows.begin() - 1;
  const auto last = std::lower_bound(rows.begin(), rows.end() - 1, end) - rows.begin();
  if (first >= last) return {{}, begin};
  return {{numbered_->places.begin() + first, numbered_->places.begin() + last}, rows[static_cast<std::size_t>(first)]};
}

Source& RowRanges::source() const {
  return *numbered_->source;
}

std::unique_ptr<Source> RowRanges::range(std::int64_t begin, std::int64_t end) {
  if (numbered_ == nullptr) return std::make_unique<OrderedRange>(ordered_, begin, end);
  return rows_of_pieces(numbered_->source, pieces(begin, end), begin, end);
}

}  // namespace mobula::data
