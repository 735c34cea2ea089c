/// What the engine reads: a source hands out pieces in order, and any thread turns a piece into batches.
/// Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/data/expressions/expression.hpp"

namespace mobula::data {

struct StretchStatistics;

/// Where the rows of a block came from.
class RowOrigin {
 public:
  virtual ~RowOrigin() = default;
  /// Names a row, counted from 0 within what was read: "in.csv: row 7". May read the file again to count: for errors.
  virtual std::string describe(std::int64_t row) const = 0;
  /// Tells whether the rows are of many files, so that file() and not Block::file names them.
  virtual bool mixes_files() const { return false; }
  /// Returns the file of a row, where mixes_files(); null where it has none.
  virtual const std::string* file(std::int64_t) const { return nullptr; }
};

/// Rows whose numbers in their file are known.
class NumberedRows : public RowOrigin {
 public:
  explicit NumberedRows(std::shared_ptr<const std::string> file) : file_(std::move(file)) {}
  std::string describe(std::int64_t row) const override;

 private:
  std::shared_ptr<const std::string> file_;
};

/// A row that could not be read, and is left out of its block.
struct UnreadRow {
  std::int64_t position = 0;  ///< in the block, those that are left out counted, too
  std::int64_t number = 0;    ///< in the block's origin
  std::string reader;         ///< the format's name
  std::string reason;
  std::string text;  ///< as it stands in the file
};

/// Rows that travel together, and where they came from.
struct Block {
  std::shared_ptr<arrow::RecordBatch> batch;
  std::shared_ptr<const std::string> file = nullptr;  ///< null for rows that no file holds
  std::shared_ptr<const RowOrigin> origin = nullptr;  ///< null where rows can't be told
  /// Which of the origin's rows each row is; null: all, from first_row on.
  std::shared_ptr<const std::vector<std::int64_t>> rows = nullptr;
  std::int64_t first_row = 0;
  std::uint64_t number = 0;  ///< of the block in its stretch: the same in every run over the same input
  /// Rows that were left out since they can't be read, in order; PlanContext::open_source() notes them as bad rows.
  std::vector<UnreadRow> unread = {};

  /// Returns which of the origin's rows a row of the batch is.
  std::int64_t number_of(std::int64_t row) const {
    return rows == nullptr ? first_row + row : (*rows)[static_cast<std::size_t>(row)];
  }
  /// Names a row of the batch: "in.csv: row 7", or as much as is known.
  std::string describe_row(std::int64_t row) const;
  /// Keeps the rows of these numbers, in their order, and what is known of where they came from. `what` leads errors.
  void pick(std::span<const std::uint32_t> kept, std::string_view what);
  /// Puts a batch in the place of this one. `from` tells which row each of its rows was made of; without it, rows are taken to
  /// be the same ones where there are as many, else no more than the file is known of them. Throws Error(task_failed).
  void replace(std::shared_ptr<arrow::RecordBatch> changed,
               const std::optional<std::vector<std::int64_t>>& from = std::nullopt);
  /// Keeps rows [from, to).
  void slice(std::int64_t from, std::int64_t to);
};

/// A part of a source, read by one thread, apart from the others.
class Piece {
 public:
  virtual ~Piece() = default;
  /// Returns the next block of the piece; one without a batch at its end. Throws Error naming file and row.
  virtual Block read() = 0;
};

/// Where a piece of a source lies, so that it can be read at any time and in any order.
struct PiecePlace {
  std::uint64_t file = 0;   ///< index into Source::files()
  std::uint64_t begin = 0;  ///< in the source's own measure: bytes, or rows
  std::uint64_t end = 0;    ///< likewise; Parquet: the row group, IPC: the batch
  std::uint64_t rows = 0;
};

/// Where rows come from. schema() and next() are called by one thread at a time.
class Source {
 public:
  virtual ~Source() = default;
  /// Returns the columns of every block. Opens files and infers types where it must.
  virtual std::shared_ptr<arrow::Schema> schema() = 0;
  /// Hands out the next piece in the order of the rows; null at the end.
  virtual std::unique_ptr<Piece> next() = 0;
  /// Names the source in statistics and errors, such as "csv(3 files)".
  virtual std::string describe() const = 0;
  /// Returns the number of rows where it is known without reading them, else -1.
  virtual std::int64_t num_rows() { return -1; }

  /// Lists all pieces with their rows, in order; reads no more than it takes to count them. Throws Error(unsupported)
  /// where rows can't be found again by number.
  virtual std::vector<PiecePlace> places();
  /// Opens one of them. Thread-safe once schema() was called.
  virtual std::unique_ptr<Piece> open(const PiecePlace& place) const;
  /// Lists the files that rows come from; empty where there are none.
  virtual std::vector<std::string> files() const { return {}; }

  /// Tells the columns that another reader of the same files has found, so that none looks through all rows for them again.
  /// Before schema().
  virtual void know_columns(const std::shared_ptr<arrow::Schema>&) {}
  /// Tells that rows for which the predicate is not true are of no use: they may be left out, unread. Before schema().
  virtual void push_filter(const std::shared_ptr<const Expression>&) {}
  /// Tells which columns are of use. The others may be left out, and schema() tells which are there from then on. Before the
  /// first piece.
  virtual void push_columns(const std::vector<std::string>&) {}
  /// Returns the figures of the stretches whose rows the source hands on, files and all; none where it reads them itself.
  virtual std::vector<const StretchStatistics*> handed_on_by() const { return {}; }
  /// Tells what a run should know: what was skipped, for instance. Empty where there is nothing to tell.
  virtual std::string note() const { return {}; }
};

}  // namespace mobula::data
