/// Columns read and made value by value, without Arrow's types: what typed rows stand on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/data/dataset.hpp"

namespace arrow {
class Array;
}

namespace mobula::data {

/// What a value is when it is read or made one by one.
enum class ValueKind { truth, integer, unsigned_integer, real, text, list };

/// One column, to be read as one kind of value. The batch must outlive it.
class ColumnReader {
 public:
  /// Finds a column and casts it to the kind. Throws Error(not_found) with the nearest name, Error(invalid_argument) naming
  /// the column where its type does not go with the kind, or a value does not fit it.
  ColumnReader(const RecordBatchPointer& batch, std::string_view column, ValueKind kind);
  ~ColumnReader();

  bool is_null(std::int64_t row) const;
  bool truth(std::int64_t row) const;
  std::int64_t integer(std::int64_t row) const;
  std::uint64_t unsigned_integer(std::int64_t row) const;
  double real(std::int64_t row) const;
  std::string_view text(std::int64_t row) const;
  /// Lists: where a row's items begin and end in items().
  std::pair<std::int64_t, std::int64_t> items_of(std::int64_t row) const;
  /// Returns the reader of the items of all lists.
  ColumnReader items(ValueKind kind) const;
  const std::string& name() const { return name_; }

 private:
  ColumnReader(std::shared_ptr<arrow::Array> values, std::string name, ValueKind kind);

  std::string name_;
  std::shared_ptr<arrow::Array> values_;
};

/// Values that become a column. Not thread-safe.
class ColumnBuilder {
 public:
  /// `bits`: of numbers, 8 to 64. Lists hold items of `item`.
  ColumnBuilder(std::string name, ValueKind kind, int bits, ValueKind item = ValueKind::integer, int item_bits = 64);
  ColumnBuilder(ColumnBuilder&&) noexcept;
  ~ColumnBuilder();

  void append_null();
  void append_truth(bool value);
  void append_integer(std::int64_t value);
  void append_unsigned(std::uint64_t value);
  void append_real(double value);
  void append_text(std::string_view value);
  /// Begins a list; what is appended to items() until the next call is in it.
  void begin_list();
  ColumnBuilder& items();

 private:
  friend RecordBatchPointer finish_batch(std::vector<ColumnBuilder>& columns, std::int64_t rows);
  struct State;
  explicit ColumnBuilder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Makes one batch of columns, all of `rows` values. The builders start again.
RecordBatchPointer finish_batch(std::vector<ColumnBuilder>& columns, std::int64_t rows);

/// Returns the number of a batch's rows.
std::int64_t num_rows_of(const RecordBatchPointer& batch);

/// Throws Error(invalid_argument) naming column and row.
[[noreturn]] void throw_bad_value(const std::string& column, std::int64_t row, std::string_view problem);

}  // namespace mobula::data
