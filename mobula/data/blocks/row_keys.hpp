/// Rows as keys: bytes that compare as the rows do, whatever the columns' types. Internal to this layer.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::data {

/// A column that takes part in a key.
struct KeyColumn {
  int position = 0;
  bool descending = false;
};

/// One key a row. memcmp of two keys (and of their lengths) gives the order of the rows: numbers by value with NaN last,
/// texts by bytes, false before true, nulls last whichever the direction; -0.0 equals 0.0.
class RowKeys {
 public:
  /// Encodes all rows. Throws Error(unsupported) naming a column whose type has no order.
  RowKeys(const arrow::RecordBatch& batch, const std::vector<KeyColumn>& columns, std::string_view what);

  std::size_t size() const { return ends_.size(); }
  std::string_view operator[](std::size_t row) const {
    const std::uint64_t begin = row == 0 ? 0 : ends_[row - 1];
    return std::string_view(bytes_).substr(begin, ends_[row] - begin);
  }

 private:
  std::string bytes_;
  std::vector<std::uint64_t> ends_;
};

/// Returns where key columns stand. Throws Error(invalid_argument) with the nearest name.
std::vector<KeyColumn> find_key_columns(const arrow::Schema& schema, const std::vector<std::string>& names,
                                        std::string_view what);

}  // namespace mobula::data
