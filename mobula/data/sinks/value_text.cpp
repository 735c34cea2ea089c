#include "mobula/data/sinks/value_text.hpp"

#include <arrow/array.h>
#include <arrow/array/array_decimal.h>
#include <arrow/array/array_nested.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <arrow/util/float16.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sinks/scalar_text.hpp"

namespace mobula::data {
namespace {

constexpr std::int64_t units_per_second(arrow::TimeUnit::type unit) {
  switch (unit) {
    case arrow::TimeUnit::SECOND:
      return 1;
    case arrow::TimeUnit::MILLI:
      return 1'000;
    case arrow::TimeUnit::MICRO:
      return 1'000'000;
    case arrow::TimeUnit::NANO:
      break;
  }
  return 1'000'000'000;
}

/// Wraps a function object that appends a value.
template <class Append>
class Appender : public ValueText {
 public:
  explicit Appender(Append append) : append_(std::move(append)) {}
  void append(std::int64_t row, std::string& out) const override { append_(row, out); }

 private:
  Append append_;
};

template <class Append>
std::unique_ptr<ValueText> appender(Append append) {
  return std::make_unique<Appender<Append>>(std::move(append));
}

template <class ArrayType>
std::unique_ptr<ValueText> numbers(const arrow::Array& column) {
  return appender([&values = static_cast<const ArrayType&>(column)](std::int64_t row, std::string& out) {
    append_number(values.Value(row), out);
  });
}

template <class GetValue>
std::unique_ptr<ValueText> floats(GetValue get, std::string name, const TextRules& rules) {
  return appender([get, name = std::move(name), rules](std::int64_t row, std::string& out) {
    const auto value = get(row);
    if (std::isfinite(value)) {
      append_number(value, out);
    } else if (rules.style == TextStyle::csv) {
      out += std::isnan(value) ? "NaN" : value > 0 ? "inf" : "-inf";
    } else if (rules.nan_as_null) {
      out += "null";
    } else {
      throw RowError(row, fmt::format("column '{}' holds {}, which JSON can't", name, value),
                     "pass --nan null to write null instead");
    }
  });
}

/// Appends strings out of runs between characters that need care.
template <class ArrayType>
std::unique_ptr<ValueText> strings(const arrow::Array& column, const TextRules& rules) {
  const auto& values = static_cast<const ArrayType&>(column);
  if (rules.style == TextStyle::json) {
    return appender([&values](std::int64_t row, std::string& out) { append_json_string(values.GetView(row), out); });
  }
  return appender([&values, delimiter = rules.delimiter](std::int64_t row, std::string& out) {
    append_csv_string(values.GetView(row), delimiter, out);
  });
}

std::int64_t list_begin(const arrow::Array& lists, std::int64_t row, std::int64_t& size) {
  switch (lists.type_id()) {
    case arrow::Type::LARGE_LIST:
      size = static_cast<const arrow::LargeListArray&>(lists).value_length(row);
      return static_cast<const arrow::LargeListArray&>(lists).value_offset(row);
    case arrow::Type::FIXED_SIZE_LIST:
      size = static_cast<const arrow::FixedSizeListArray&>(lists).value_length(row);
      return static_cast<const arrow::FixedSizeListArray&>(lists).value_offset(row);
    default:
      size = static_cast<const arrow::ListArray&>(lists).value_length(row);
      return static_cast<const arrow::ListArray&>(lists).value_offset(row);
  }
}

const arrow::Array& list_values(const arrow::Array& lists) {
  switch (lists.type_id()) {
    case arrow::Type::LARGE_LIST:
      return *static_cast<const arrow::LargeListArray&>(lists).values();
    case arrow::Type::FIXED_SIZE_LIST:
      return *static_cast<const arrow::FixedSizeListArray&>(lists).values();
    default:
      return *static_cast<const arrow::ListArray&>(lists).values();
  }
}

void append_or_null(const arrow::Array& column, const ValueText& text, std::int64_t row, std::string& out) {
  if (column.IsNull(row)) {
    out += "null";
  } else {
    text.append(row, out);
  }
}

/// Runs `body` for an item; what an item can't be written for is the row's error.
template <class Body>
void for_row(std::int64_t row, Body body) {
  try {
    body();
  } catch (RowError& error) {
    error.row = row;
    throw;
  }
}

std::unique_ptr<ValueText> lists(const arrow::Array& column, const std::string& name, const TextRules& rules) {
  const arrow::Array& values = list_values(column);
  return appender([&column, &values, items = std::shared_ptr<ValueText>(make_value_text(values, name, rules))](
                      std::int64_t row, std::string& out) {
    std::int64_t size = 0;
    const std::int64_t begin = list_begin(column, row, size);
    out += '[';
    for_row(row, [&] {
      for (std::int64_t i = 0; i < size; ++i) {
        if (i > 0) out += ',';
        append_or_null(values, *items, begin + i, out);
      }
    });
    out += ']';
  });
}

std::unique_ptr<ValueText> structs(const arrow::Array& column, const std::string& name, const TextRules& rules) {
  struct Member {
    std::string key;
    std::shared_ptr<arrow::Array> values;
    std::shared_ptr<ValueText> text;
  };
  std::vector<Member> members;
  for (int i = 0; i < column.type()->num_fields(); ++i) {
    Member member;
    append_json_string(column.type()->field(i)->name(), member.key);
    member.key += ':';
    member.values = static_cast<const arrow::StructArray&>(column).field(i);
    member.text = make_value_text(*member.values, name + "." + column.type()->field(i)->name(), rules);
    members.push_back(std::move(member));
  }
  return appender([members = std::move(members)](std::int64_t row, std::string& out) {
    out += '{';
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (i > 0) out += ',';
      out += members[i].key;
      append_or_null(*members[i].values, *members[i].text, row, out);
    }
    out += '}';
  });
}

/// Maps are lists of [key, value] pairs, which keep their order and any type of key.
std::unique_ptr<ValueText> maps(const arrow::Array& column, const std::string& name, const TextRules& rules) {
  const auto& map = static_cast<const arrow::MapArray&>(column);
  return appender([&map, keys = std::shared_ptr<ValueText>(make_value_text(*map.keys(), name + ".key", rules)),
                   values = std::shared_ptr<ValueText>(make_value_text(*map.items(), name + ".value", rules))](
                      std::int64_t row, std::string& out) {
    out += '[';
    for_row(row, [&] {
      for (std::int64_t i = 0; i < map.value_length(row); ++i) {
        if (i > 0) out += ',';
        out += '[';
        append_or_null(*map.keys(), *keys, map.value_offset(row) + i, out);
        out += ',';
        append_or_null(*map.items(), *values, map.value_offset(row) + i, out);
        out += ']';
      }
    });
    out += ']';
  });
}

/// Puts quotes around what JSON has no type for.
std::unique_ptr<ValueText> quoted(std::unique_ptr<ValueText> text, TextStyle style) {
  if (style == TextStyle::csv) return text;
  return appender([text = std::shared_ptr<ValueText>(std::move(text))](std::int64_t row, std::string& out) {
    out += '"';
    text->append(row, out);
    out += '"';
  });
}

std::unique_ptr<ValueText> times(const arrow::Array& column) {
  const auto unit = static_cast<const arrow::TimeType&>(*column.type()).unit();
  if (column.type_id() == arrow::Type::TIME32) {
    return appender(
        [&values = static_cast<const arrow::Time32Array&>(column), unit](std::int64_t row, std::string& out) {
          append_time_of_day(values.Value(row), units_per_second(unit), out);
        });
  }
  return appender([&values = static_cast<const arrow::Time64Array&>(column), unit](std::int64_t row, std::string& out) {
    append_time_of_day(values.Value(row), units_per_second(unit), out);
  });
}

std::unique_ptr<ValueText> timestamps(const arrow::Array& column) {
  const auto& type = static_cast<const arrow::TimestampType&>(*column.type());
  return appender([&values = static_cast<const arrow::TimestampArray&>(column),
                   per_second = units_per_second(type.unit()),
                   utc = !type.timezone().empty()](std::int64_t row, std::string& out) {
    append_timestamp(values.Value(row), per_second, utc, out);
  });
}

}  // namespace

void check_text_type(const arrow::DataType& type, const std::string& column, TextStyle style) {
  const auto refuse = [&](std::string_view hint) {
    throw Error(ErrorCode::unsupported,
                fmt::format("column '{}' is {}, which {} can't hold", column, type.ToString(),
                            style == TextStyle::csv ? "CSV" : "JSON"),
                std::string(hint));
  };
  switch (type.id()) {
    case arrow::Type::BINARY:
    case arrow::Type::LARGE_BINARY:
    case arrow::Type::FIXED_SIZE_BINARY:
      refuse("drop the column, or write Parquet");
      break;
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::FIXED_SIZE_LIST:
    case arrow::Type::STRUCT:
    case arrow::Type::MAP:
      if (style == TextStyle::csv) refuse("write JSONL or Parquet, or drop the column");
      for (const auto& field : type.fields())
        check_text_type(*field->type(), fmt::format("{}.{}", column, field->name()), style);
      break;
    case arrow::Type::DURATION:
    case arrow::Type::INTERVAL_MONTHS:
    case arrow::Type::INTERVAL_DAY_TIME:
    case arrow::Type::INTERVAL_MONTH_DAY_NANO:
    case arrow::Type::SPARSE_UNION:
    case arrow::Type::DENSE_UNION:
    case arrow::Type::DICTIONARY:
    case arrow::Type::RUN_END_ENCODED:
    case arrow::Type::EXTENSION:
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW:
    case arrow::Type::LIST_VIEW:
    case arrow::Type::LARGE_LIST_VIEW:
      refuse("cast the column first, or write Parquet");
      break;
    default:
      break;
  }
}

std::unique_ptr<ValueText> make_value_text(const arrow::Array& column, const std::string& name,
                                           const TextRules& rules) {
  switch (column.type_id()) {
    case arrow::Type::BOOL:
      return appender([&values = static_cast<const arrow::BooleanArray&>(column)](std::int64_t row, std::string& out) {
        out += values.Value(row) ? "true" : "false";
      });
    case arrow::Type::INT8:
      return numbers<arrow::Int8Array>(column);
    case arrow::Type::INT16:
      return numbers<arrow::Int16Array>(column);
    case arrow::Type::INT32:
      return numbers<arrow::Int32Array>(column);
    case arrow::Type::INT64:
      return numbers<arrow::Int64Array>(column);
    case arrow::Type::UINT8:
      return numbers<arrow::UInt8Array>(column);
    case arrow::Type::UINT16:
      return numbers<arrow::UInt16Array>(column);
    case arrow::Type::UINT32:
      return numbers<arrow::UInt32Array>(column);
    case arrow::Type::UINT64:
      return numbers<arrow::UInt64Array>(column);
    case arrow::Type::HALF_FLOAT:
      return floats([&values = static_cast<const arrow::HalfFloatArray&>(column)](
                        std::int64_t row) { return arrow::util::Float16::FromBits(values.Value(row)).ToFloat(); },
                    name, rules);
    case arrow::Type::FLOAT:
      return floats(
          [&values = static_cast<const arrow::FloatArray&>(column)](std::int64_t row) { return values.Value(row); },
          name, rules);
    case arrow::Type::DOUBLE:
      return floats(
          [&values = static_cast<const arrow::DoubleArray&>(column)](std::int64_t row) { return values.Value(row); },
          name, rules);
    case arrow::Type::STRING:
      return strings<arrow::StringArray>(column, rules);
    case arrow::Type::LARGE_STRING:
      return strings<arrow::LargeStringArray>(column, rules);
    case arrow::Type::DATE32:
      return quoted(appender([&values = static_cast<const arrow::Date32Array&>(column)](
                                 std::int64_t row, std::string& out) { append_date(values.Value(row), out); }),
                    rules.style);
    case arrow::Type::DATE64:
      return quoted(
          appender([&values = static_cast<const arrow::Date64Array&>(column)](std::int64_t row, std::string& out) {
            append_date(values.Value(row) / 86'400'000, out);
          }),
          rules.style);
    case arrow::Type::TIME32:
    case arrow::Type::TIME64:
      return quoted(times(column), rules.style);
    case arrow::Type::TIMESTAMP:
      return quoted(timestamps(column), rules.style);
    case arrow::Type::DECIMAL32:
    case arrow::Type::DECIMAL64:
    case arrow::Type::DECIMAL128:
    case arrow::Type::DECIMAL256:
      return quoted(appender([&column](std::int64_t row, std::string& out) {
                      out += column.GetScalar(row).ValueOrDie()->ToString();
                    }),
                    rules.style);
    case arrow::Type::LIST:
    case arrow::Type::LARGE_LIST:
    case arrow::Type::FIXED_SIZE_LIST:
      return lists(column, name, rules);
    case arrow::Type::STRUCT:
      return structs(column, name, rules);
    case arrow::Type::MAP:
      return maps(column, name, rules);
    default:
      break;
  }
  check_text_type(*column.type(), name, rules.style);
  throw_internal(fmt::format("no text for {}", column.type()->ToString()));
}

}  // namespace mobula::data
