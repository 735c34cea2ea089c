/// Values as text, for CSV and JSON. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace mobula::data {

enum class TextStyle { csv, json };

struct TextRules {
  TextStyle style = TextStyle::csv;
  char delimiter = ',';
  bool nan_as_null = false;
};

/// Appends the values of one column.
class ValueText {
 public:
  virtual ~ValueText() = default;
  /// Appends the value at `row`, which is not null. Throws RowError for a value that the style can't hold.
  virtual void append(std::int64_t row, std::string& out) const = 0;
};

/// Throws Error(unsupported) naming the column, where the style has no form for its type.
void check_text_type(const arrow::DataType& type, const std::string& column, TextStyle style);
/// Makes the writer of a column, which must outlive it.
std::unique_ptr<ValueText> make_value_text(const arrow::Array& column, const std::string& name, const TextRules& rules);

}  // namespace mobula::data
