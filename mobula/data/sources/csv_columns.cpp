#include "mobula/data/sources/csv_columns.hpp"

#include <arrow/array.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/type.h>
#include <arrow/util/bit_util.h>
#include <arrow/util/bitmap_ops.h>
#include <arrow/util/value_parsing.h>
#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <string>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/type_names.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sources/value_parsing.hpp"

namespace mobula::data {
namespace {

enum Possible : unsigned {
  kBool = 1,
  kInt64 = 2,
  kUint64 = 4,
  kFloat64 = 8,
  kDate = 16,
  kTimestamp = 32,
  kTimestampUtc = 64,
};

bool parse_date(std::string_view text, std::int32_t& days) {
  if (text.size() != 10) return false;
  arrow::Date32Type::c_type value = 0;
  if (!arrow::internal::ParseValue<arrow::Date32Type>(text.data(), text.size(), &value)) return false;
  days = value;
  return true;
}

bool parse_timestamp(std::string_view text, arrow::TimeUnit::type unit, std::int64_t& value, bool& has_offset) {
  return text.size() > 10 &&
         arrow::internal::ParseTimestampISO8601(text.data(), text.size(), unit, &value, &has_offset);
}

unsigned possible_types(std::string_view text, bool& nanoseconds) {
  if (text.empty()) return 0;
  std::int64_t integer = 0;
  if (parse_int64(text, integer)) return integer < 0 ? kInt64 | kFloat64 : kInt64 | kUint64 | kFloat64;
  std::uint64_t natural = 0;
  if (parse_uint64(text, natural)) return kUint64;
  double number = 0;
  // Only what has a point, an exponent or a name is a float: an integer of 30 digits would lose digits as one.
  if (text.find_first_of(".eEnN") != std::string_view::npos && parse_float64(text, number)) return kFloat64;
  bool truth = false;
  if (parse_bool(text, truth)) return kBool;
  std::int32_t days = 0;
  if (parse_date(text, days)) return kDate | kTimestamp;
  bool has_offset = false;
  if (parse_timestamp(text, arrow::TimeUnit::MICRO, integer, has_offset))
    return has_offset ? kTimestampUtc : kTimestamp;
  if (parse_timestamp(text, arrow::TimeUnit::NANO, integer, has_offset)) {
    nanoseconds = true;
    return has_offset ? kTimestampUtc : kTimestamp;
  }
  return 0;
}

/// Lets `parse` read each value; a bitmap of what is valid is made when the first null comes.
template <class CType, class Parse>
std::shared_ptr<arrow::Array> convert(const CsvRecords& records, std::size_t column, std::string_view name,
                                      const std::shared_ptr<arrow::DataType>& type, Parse parse) {
  const auto rows = static_cast<std::int64_t>(records.num_rows());
  std::shared_ptr<arrow::Buffer> values =
      take(arrow::AllocateBuffer(rows * static_cast<std::int64_t>(sizeof(CType))), name);
  auto* out = reinterpret_cast<CType*>(values->mutable_data());
  std::shared_ptr<arrow::Buffer> valid;
  std::int64_t num_nulls = 0;
  std::string unescaped;
  for (std::int64_t row = 0; row < rows; ++row) {
    const CsvField field = records.field(static_cast<std::size_t>(row), column);
    if (field.text.empty() && !field.quoted) {
      if (valid == nullptr) {
        valid = take(arrow::AllocateBitmap(rows), name);
        arrow::bit_util::SetBitsTo(valid->mutable_data(), 0, rows, true);
      }
      arrow::bit_util::ClearBit(valid->mutable_data(), row);
      ++num_nulls;
      out[row] = CType{};
      continue;
    }
    if (!parse(field.text, out[row])) {
      throw RowError(
          row,
          fmt::format("column '{}': {:?} is not {} {}", name, field.value().substr(0, 60),
                      std::string_view("aeiou").find(name_of_type(*type)[0]) == std::string_view::npos ? "a" : "an",
                      name_of_type(*type)),
          fmt::format("pass --types {}=string, or --infer all to look at every row first", name));
    }
  }
  return arrow::MakeArray(arrow::ArrayData::Make(type, rows, {valid, values}, num_nulls));
}

std::shared_ptr<arrow::Array> convert_bools(const CsvRecords& records, std::size_t column, std::string_view name,
                                            const std::shared_ptr<arrow::DataType>& type) {
  const auto bytes =
      convert<std::uint8_t>(records, column, name, arrow::uint8(), [](std::string_view text, std::uint8_t& out) {
        bool value = false;
        if (!parse_bool(text, value)) return false;
        out = value;
        return true;
      });
  std::shared_ptr<arrow::Buffer> bits = take(arrow::AllocateEmptyBitmap(bytes->length()), name);
  const std::uint8_t* values = bytes->data()->GetValues<std::uint8_t>(1);
  for (std::int64_t i = 0; i < bytes->length(); ++i) arrow::bit_util::SetBitTo(bits->mutable_data(), i, values[i] != 0);
  return arrow::MakeArray(
      arrow::ArrayData::Make(type, bytes->length(), {bytes->null_bitmap(), bits}, bytes->null_count()));
}

std::shared_ptr<arrow::Array> convert_strings(const CsvRecords& records, std::size_t column, std::string_view name,
                                              const std::shared_ptr<arrow::DataType>& type) {
  const std::size_t rows = records.num_rows();
  std::size_t total = 0;
  for (std::size_t row = 0; row < rows; ++row) total += records.raw(row, column).size();
  if (total > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw RowError(0, fmt::format("column '{}': 2 GiB of text in one piece", name), "lower piece_bytes");
  }
  std::shared_ptr<arrow::Buffer> offsets = take(arrow::AllocateBuffer(static_cast<std::int64_t>((rows + 1) * 4)), name);
  // 16 bytes are copied at once where a value is short, so the buffer has room for them behind the last value.
  std::unique_ptr<arrow::ResizableBuffer> characters =
      take(arrow::AllocateResizableBuffer(static_cast<std::int64_t>(total + 16)), name);
  auto* ends = reinterpret_cast<std::int32_t*>(offsets->mutable_data());
  char* const begin = reinterpret_cast<char*>(characters->mutable_data());
  char* out = begin;
  std::shared_ptr<arrow::Buffer> valid;
  std::int64_t num_nulls = 0;
  *ends++ = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const CsvField field = records.field(row, column);
    if (!field.quoted) {
      if (field.text.empty()) {
        if (valid == nullptr) {
          valid = take(arrow::AllocateBitmap(static_cast<std::int64_t>(rows)), name);
          arrow::bit_util::SetBitsTo(valid->mutable_data(), 0, static_cast<std::int64_t>(rows), true);
        }
        arrow::bit_util::ClearBit(valid->mutable_data(), static_cast<std::int64_t>(row));
        ++num_nulls;
      }
      std::memcpy(out, field.text.data(), field.text.size());
      out += field.text.size();
    } else {
      for (std::size_t i = 0; i < field.text.size(); ++i) {
        *out++ = field.text[i];
        if (field.text[i] == '"') ++i;
      }
    }
    *ends++ = static_cast<std::int32_t>(out - begin);
  }
  check(characters->Resize(out - begin, false), name);
  return arrow::MakeArray(
      arrow::ArrayData::Make(type, static_cast<std::int64_t>(rows),
                             {valid, offsets, std::shared_ptr<arrow::Buffer>(std::move(characters))}, num_nulls));
}

template <class Integer>
std::shared_ptr<arrow::Array> convert_integers(const CsvRecords& records, std::size_t column, std::string_view name,
                                               const std::shared_ptr<arrow::DataType>& type) {
  return convert<Integer>(records, column, name, type, [](std::string_view text, Integer& out) {
    std::int64_t value = 0;
    if (!parse_int64(text, value) || !std::in_range<Integer>(value)) return false;
    out = static_cast<Integer>(value);
    return true;
  });
}

}  // namespace

void CsvTypeGuess::see(const CsvField& field) {
  if (field.is_null()) return;
  seen_ = true;
  if (possible_ != 0) possible_ &= possible_types(field.text, nanoseconds_);
}

std::shared_ptr<arrow::DataType> CsvTypeGuess::type() const {
  if (!seen_ || possible_ == 0) return arrow::utf8();
  if (possible_ & kBool) return arrow::boolean();
  if (possible_ & kInt64) return arrow::int64();
  if (possible_ & kUint64) return arrow::uint64();
  if (possible_ & kFloat64) return arrow::float64();
  if (possible_ & kDate) return arrow::date32();
  const auto unit = nanoseconds_ ? arrow::TimeUnit::NANO : arrow::TimeUnit::MICRO;
  return possible_ & kTimestamp ? arrow::timestamp(unit) : arrow::timestamp(unit, "UTC");
}

std::shared_ptr<arrow::Array> convert_csv_column(const CsvRecords& records, std::size_t column, std::string_view name,
                                                 const std::shared_ptr<arrow::DataType>& type) {
  switch (type->id()) {
    case arrow::Type::INT64:
      return convert<std::int64_t>(records, column, name, type, parse_int64);
    case arrow::Type::DOUBLE:
      return convert<double>(records, column, name, type, parse_float64);
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      return convert_strings(records, column, name, type);
    case arrow::Type::BOOL:
      return convert_bools(records, column, name, type);
    case arrow::Type::UINT64:
      return convert<std::uint64_t>(records, column, name, type, parse_uint64);
    case arrow::Type::INT8:
      return convert_integers<std::int8_t>(records, column, name, type);
    case arrow::Type::INT16:
      return convert_integers<std::int16_t>(records, column, name, type);
    case arrow::Type::INT32:
      return convert_integers<std::int32_t>(records, column, name, type);
    case arrow::Type::UINT8:
      return convert_integers<std::uint8_t>(records, column, name, type);
    case arrow::Type::UINT16:
      return convert_integers<std::uint16_t>(records, column, name, type);
    case arrow::Type::UINT32:
      return convert_integers<std::uint32_t>(records, column, name, type);
    case arrow::Type::FLOAT:
      return convert<float>(records, column, name, type, [](std::string_view text, float& out) {
        double value = 0;
        if (!parse_float64(text, value)) return false;
        out = static_cast<float>(value);
        return true;
      });
    case arrow::Type::DATE32:
      return convert<std::int32_t>(records, column, name, type, parse_date);
    case arrow::Type::TIMESTAMP: {
      const auto& timestamps = static_cast<const arrow::TimestampType&>(*type);
      const bool utc = !timestamps.timezone().empty();
      return convert<std::int64_t>(
          records, column, name, type, [unit = timestamps.unit(), utc](std::string_view text, std::int64_t& out) {
            bool has_offset = false;
            if (parse_timestamp(text, unit, out, has_offset)) return has_offset == utc;
            return !utc && text.size() == 10 &&
                   arrow::internal::ParseTimestampISO8601(text.data(), text.size(), unit, &out);
          });
    }
    default:
      throw Error(ErrorCode::unsupported, fmt::format("column '{}': CSV is not read as {}", name, type->ToString()));
  }
}

}  // namespace mobula::data
