#include "mobula/data/blocks/row_keys.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <functional>
#include <type_traits>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula::data {
namespace {

template <class Unsigned>
void append_big_endian(Unsigned value, std::string& out) {
  for (int shift = static_cast<int>(sizeof(Unsigned)) * 8 - 8; shift >= 0; shift -= 8)
    out += static_cast<char>(value >> shift & 0xFF);
}

template <class T>
void append_value(T value, std::string& out) {
  if constexpr (std::is_floating_point_v<T>) {
    using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
    constexpr Bits kSign = Bits{1} << (sizeof(T) * 8 - 1);
    if (value == 0) value = 0;  // -0.0, too
    Bits bits = std::bit_cast<Bits>(value);
    if (std::isnan(value)) {
      bits = ~Bits{0};
    } else {
      bits = bits & kSign ? ~bits : bits | kSign;
    }
    append_big_endian(bits, out);
  } else if constexpr (std::is_signed_v<T>) {
    using Bits = std::make_unsigned_t<T>;
    append_big_endian(static_cast<Bits>(static_cast<Bits>(value) ^ (Bits{1} << (sizeof(T) * 8 - 1))), out);
  } else {
    append_big_endian(value, out);
  }
}

/// Zero bytes inside become 00 FF and the end is 00 00, so that no key is the beginning of another.
void append_value(std::string_view text, std::string& out) {
  for (const char c : text) {
    out += c;
    if (c == '\0') out += '\xFF';
  }
  out.append(2, '\0');
}

using Append = std::function<void(std::int64_t, std::string&)>;

template <class ArrayType>
Append values_of(const arrow::Array& array) {
  return [&values = static_cast<const ArrayType&>(array)](std::int64_t row, std::string& out) {
    append_value(values.GetView(row), out);
  };
}

Append appender_of(const arrow::Array& array, const std::string& name, std::string_view what) {
  switch (array.type_id()) {
    case arrow::Type::BOOL:
      return [&values = static_cast<const arrow::BooleanArray&>(array)](std::int64_t row, std::string& out) {
        out += values.Value(row) ? '\1' : '\0';
      };
    case arrow::Type::INT8:
      return values_of<arrow::Int8Array>(array);
    case arrow::Type::INT16:
      return values_of<arrow::Int16Array>(array);
    case arrow::Type::INT32:
      return values_of<arrow::Int32Array>(array);
    case arrow::Type::INT64:
      return values_of<arrow::Int64Array>(array);
    case arrow::Type::UINT8:
      return values_of<arrow::UInt8Array>(array);
    case arrow::Type::UINT16:
      return values_of<arrow::UInt16Array>(array);
    case arrow::Type::UINT32:
      return values_of<arrow::UInt32Array>(array);
    case arrow::Type::UINT64:
      return values_of<arrow::UInt64Array>(array);
    case arrow::Type::FLOAT:
      return values_of<arrow::FloatArray>(array);
    case arrow::Type::DOUBLE:
      return values_of<arrow::DoubleArray>(array);
    case arrow::Type::DATE32:
      return values_of<arrow::Date32Array>(array);
    case arrow::Type::DATE64:
      return values_of<arrow::Date64Array>(array);
    case arrow::Type::TIME32:
      return values_of<arrow::Time32Array>(array);
    case arrow::Type::TIME64:
      return values_of<arrow::Time64Array>(array);
    case arrow::Type::TIMESTAMP:
      return values_of<arrow::TimestampArray>(array);
    case arrow::Type::DURATION:
      return values_of<arrow::DurationArray>(array);
    case arrow::Type::STRING:
      return values_of<arrow::StringArray>(array);
    case arrow::Type::LARGE_STRING:
      return values_of<arrow::LargeStringArray>(array);
    case arrow::Type::BINARY:
      return values_of<arrow::BinaryArray>(array);
    default:
      throw Error(ErrorCode::unsupported,
                  fmt::format("{}: column '{}' is {}, which has no order", what, name, array.type()->ToString()),
                  "cast it to a number or a string first");
  }
}

}  // namespace

RowKeys::RowKeys(const arrow::RecordBatch& batch, const std::vector<KeyColumn>& columns, std::string_view what) {
  std::vector<Append> appenders;
  for (const KeyColumn& column : columns) {
    appenders.push_back(appender_of(*batch.column(column.position), batch.column_name(column.position), what));
  }
  ends_.reserve(static_cast<std::size_t>(batch.num_rows()));
  bytes_.reserve(static_cast<std::size_t>(batch.num_rows()) * columns.size() * 9);
  for (std::int64_t row = 0; row < batch.num_rows(); ++row) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (batch.column(columns[i].position)->IsNull(row)) {
        bytes_ += '\2';
        continue;
      }
      bytes_ += '\1';
      const std::size_t begin = bytes_.size();
      appenders[i](row, bytes_);
      if (columns[i].descending) {
        for (std::size_t at = begin; at < bytes_.size(); ++at) bytes_[at] = static_cast<char>(~bytes_[at]);
      }
    }
    ends_.push_back(bytes_.size());
  }
}

std::vector<KeyColumn> find_key_columns(const arrow::Schema& schema, const std::vector<std::string>& names,
                                        std::string_view what) {
  std::vector<KeyColumn> columns;
  for (const std::string& name : names) {
    const int position = schema.GetFieldIndex(name);
    if (position < 0) {
      throw Error(ErrorCode::invalid_argument, fmt::format("{}: no column '{}'", what, name),
                  suggest(name, schema.field_names()));
    }
    columns.push_back({position, false});
  }
  return columns;
}

}  // namespace mobula::data
