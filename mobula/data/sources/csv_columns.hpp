/// Types and values of CSV columns. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <string_view>

#include "mobula/data/sources/csv_records.hpp"

namespace mobula::data {

/// Narrows down what type a column has, value by value. Nulls fit everything; the empty string is a string.
class CsvTypeGuess {
 public:
  void see(const CsvField& field);
  /// Returns the narrowest type that holds every value seen: bool, int64, uint64, float64, date, timestamp (microseconds
  /// or, where a value has more digits, nanoseconds; in UTC where values have an offset), else string. Integers that
  /// fit no 64-bit type are strings, so that no digit is lost.
  std::shared_ptr<arrow::DataType> type() const;

 private:
  unsigned possible_ = ~0u;
  bool seen_ = false;
  bool nanoseconds_ = false;
};

/// Converts one column of scanned records. Throws RowError for a value that isn't of the type, and for invalid UTF-8.
std::shared_ptr<arrow::Array> convert_csv_column(const CsvRecords& records, std::size_t column, std::string_view name,
                                                 const std::shared_ptr<arrow::DataType>& type);

}  // namespace mobula::data
