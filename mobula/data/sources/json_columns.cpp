#include "mobula/data/sources/json_columns.hpp"

#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_nested.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/array/builder_time.h>
#include <arrow/record_batch.h>
#include <arrow/table_builder.h>
#include <arrow/type.h>
#include <arrow/util/value_parsing.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/type_names.hpp"
#include "mobula/data/row_error.hpp"

namespace mobula::data {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

std::string text_of(element value) {
  std::string text = simdjson::minify(value);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

[[noreturn]] void throw_type(element value, const arrow::DataType& type, const std::string& path) {
  throw RowError(
      0, fmt::format("'{}': {} is not {}", path, text_of(value), name_of_type(type)),
      fmt::format("pass --types {}=string, or --infer all to look at every row first", path.substr(0, path.find('.'))));
}

void append_value(arrow::ArrayBuilder& builder, element value, const std::string& path, bool ignore_unknown);

/// Appends the members of an object to builders of its fields; what is missing is null.
template <class Builders>
void append_members(const arrow::FieldVector& fields, Builders&& builder_of, simdjson::dom::object object,
                    const std::string& path, bool ignore_unknown) {
  std::vector<bool> seen(fields.size());
  std::size_t expected = 0;
  for (const auto member : object) {
    std::size_t at = expected;
    if (at >= fields.size() || fields[at]->name() != member.key) {
      at = 0;
      while (at < fields.size() && fields[at]->name() != member.key) ++at;
    }
    if (at == fields.size()) {
      if (ignore_unknown) continue;
      throw RowError(
          0, fmt::format("key '{}{}' was not among the rows that the columns were inferred from", path, member.key),
          "pass --infer all to look at every row first");
    }
    if (seen[at]) throw RowError(0, fmt::format("key '{}{}' appears twice", path, member.key));
    seen[at] = true;
    expected = at + 1;
    append_value(builder_of(at), member.value, fmt::format("{}{}", path, member.key), ignore_unknown);
  }
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (!seen[i]) check(builder_of(i).AppendNull(), fields[i]->name());
  }
}

template <class Builder>
void append_integer(arrow::ArrayBuilder& builder, element value, const std::string& path) {
  using CType = typename Builder::value_type;
  std::int64_t integer = 0;
  std::uint64_t natural = 0;
  if (value.type() == element_type::INT64 && value.get(integer) == simdjson::SUCCESS && std::in_range<CType>(integer)) {
    check(static_cast<Builder&>(builder).Append(static_cast<CType>(integer)), path);
  } else if (value.type() == element_type::UINT64 && value.get(natural) == simdjson::SUCCESS &&
             std::in_range<CType>(natural)) {
    check(static_cast<Builder&>(builder).Append(static_cast<CType>(natural)), path);
  } else {
    throw_type(value, *builder.type(), path);
  }
}

double float_of(element value, const arrow::DataType& type, const std::string& path) {
  double number = 0;
  if (value.type() == element_type::DOUBLE && value.get(number) == simdjson::SUCCESS) return number;
  std::int64_t integer = 0;
  constexpr std::int64_t kExact = std::int64_t{1} << 53;
  if (value.type() == element_type::INT64 && value.get(integer) == simdjson::SUCCESS && integer >= -kExact &&
      integer <= kExact) {
    return static_cast<double>(integer);
  }
  throw_type(value, type, path);
}

void append_value(arrow::ArrayBuilder& builder, element value, const std::string& path, bool ignore_unknown) {
  if (value.is_null()) {
    check(builder.AppendNull(), path);
    return;
  }
  const auto type_pointer = builder.type();  // builders of nested types make theirs anew
  const arrow::DataType& type = *type_pointer;
  switch (type.id()) {
    case arrow::Type::BOOL: {
      bool truth = false;
      if (value.get(truth) != simdjson::SUCCESS) throw_type(value, type, path);
      check(static_cast<arrow::BooleanBuilder&>(builder).Append(truth), path);
      return;
    }
    case arrow::Type::INT8:
      return append_integer<arrow::Int8Builder>(builder, value, path);
    case arrow::Type::INT16:
      return append_integer<arrow::Int16Builder>(builder, value, path);
    case arrow::Type::INT32:
      return append_integer<arrow::Int32Builder>(builder, value, path);
    case arrow::Type::INT64:
      return append_integer<arrow::Int64Builder>(builder, value, path);
    case arrow::Type::UINT8:
      return append_integer<arrow::UInt8Builder>(builder, value, path);
    case arrow::Type::UINT16:
      return append_integer<arrow::UInt16Builder>(builder, value, path);
    case arrow::Type::UINT32:
      return append_integer<arrow::UInt32Builder>(builder, value, path);
    case arrow::Type::UINT64:
      return append_integer<arrow::UInt64Builder>(builder, value, path);
    case arrow::Type::DOUBLE:
      check(static_cast<arrow::DoubleBuilder&>(builder).Append(float_of(value, type, path)), path);
      return;
    case arrow::Type::FLOAT:
      check(static_cast<arrow::FloatBuilder&>(builder).Append(static_cast<float>(float_of(value, type, path))), path);
      return;
    case arrow::Type::STRING: {
      std::string_view text;
      auto& strings = static_cast<arrow::StringBuilder&>(builder);
      if (value.get(text) == simdjson::SUCCESS) {
        check(strings.Append(text), path);
      } else {  // a column fixed as string holds other values as their JSON text
        check(strings.Append(simdjson::minify(value)), path);
      }
      return;
    }
    case arrow::Type::DATE32: {
      std::string_view text;
      std::int32_t days = 0;
      if (value.get(text) != simdjson::SUCCESS ||
          !arrow::internal::ParseValue<arrow::Date32Type>(text.data(), text.size(), &days)) {
        throw_type(value, type, path);
      }
      check(static_cast<arrow::Date32Builder&>(builder).Append(days), path);
      return;
    }
    case arrow::Type::TIMESTAMP: {
      const auto& timestamps = static_cast<const arrow::TimestampType&>(type);
      std::string_view text;
      std::int64_t time = 0;
      bool has_offset = false;
      if (value.get(text) != simdjson::SUCCESS ||
          !arrow::internal::ParseTimestampISO8601(text.data(), text.size(), timestamps.unit(), &time, &has_offset) ||
          has_offset == timestamps.timezone().empty()) {
        throw_type(value, type, path);
      }
      check(static_cast<arrow::TimestampBuilder&>(builder).Append(time), path);
      return;
    }
    case arrow::Type::LIST: {
      simdjson::dom::array items;
      if (value.get(items) != simdjson::SUCCESS) throw_type(value, type, path);
      auto& lists = static_cast<arrow::ListBuilder&>(builder);
      check(lists.Append(), path);
      for (const element item : items) append_value(*lists.value_builder(), item, path, ignore_unknown);
      return;
    }
    case arrow::Type::STRUCT: {
      simdjson::dom::object members;
      if (value.get(members) != simdjson::SUCCESS) throw_type(value, type, path);
      auto& structs = static_cast<arrow::StructBuilder&>(builder);
      check(structs.Append(), path);
      append_members(
          type.fields(),
          [&structs](std::size_t i) -> arrow::ArrayBuilder& { return *structs.field_builder(static_cast<int>(i)); },
          members, path + ".", ignore_unknown);
      return;
    }
    default:
      throw Error(ErrorCode::unsupported, fmt::format("column '{}': JSON is not read as {}", path, type.ToString()));
  }
}

}  // namespace

const char* JsonTypeGuess::name(Kind kind) {
  static constexpr const char* kNames[] = {"null",    "bool",   "int64",  "uint64",
                                           "float64", "string", "a list", "an object"};
  return kNames[static_cast<int>(kind)];
}

void JsonTypeGuess::widen(Kind kind, const std::string& path) {
  const auto number = [](Kind k) { return k == Kind::int64 || k == Kind::uint64 || k == Kind::float64; };
  if (kind_ == Kind::null || kind_ == kind) {
    kind_ = kind;
  } else if (number(kind_) && number(kind)) {
    if (kind_ == Kind::float64 || kind == Kind::float64) {
      kind_ = Kind::float64;
    } else {
      kind_ = Kind::uint64;
    }
  } else {
    throw RowError(0, fmt::format("'{}' is {} here and {} in a row before", path, name(kind), name(kind_)),
                   fmt::format("pass --types {}=string", path.substr(0, path.find('.'))));
  }
  if (kind_ == Kind::uint64 && negative_) {
    throw RowError(0, fmt::format("'{}' holds negative numbers and numbers over 2^63", path),
                   fmt::format("pass --types {}=string", path));
  }
}

void JsonTypeGuess::see(element value, const std::string& path) {
  switch (value.type()) {
    case element_type::NULL_VALUE:
      return;
    case element_type::BOOL:
      return widen(Kind::boolean, path);
    case element_type::INT64:
      negative_ = negative_ || std::int64_t(value) < 0;
      return widen(Kind::int64, path);
    case element_type::UINT64:
      return widen(Kind::uint64, path);
    case element_type::DOUBLE:
      return widen(Kind::float64, path);
    case element_type::STRING:
      return widen(Kind::string, path);
    case element_type::ARRAY:
      widen(Kind::list, path);
      if (item_ == nullptr) item_ = std::make_unique<JsonTypeGuess>();
      for (const element item : simdjson::dom::array(value)) item_->see(item, path);
      return;
    case element_type::OBJECT: {
      widen(Kind::object, path);
      std::size_t expected = 0;
      for (const auto member : simdjson::dom::object(value)) {
        if (expected >= fields_.size() || fields_[expected].first != member.key) {
          const auto found = std::find_if(fields_.begin(), fields_.end(),
                                          [&member](const auto& field) { return field.first == member.key; });
          expected = static_cast<std::size_t>(found - fields_.begin());
          if (found == fields_.end()) fields_.emplace_back(std::string(member.key), JsonTypeGuess());
        }
        fields_[expected].second.see(member.value,
                                     path.empty() ? std::string(member.key) : fmt::format("{}.{}", path, member.key));
        ++expected;
      }
      return;
    }
  }
}

std::shared_ptr<arrow::DataType> JsonTypeGuess::type() const {
  switch (kind_) {
    case Kind::boolean:
      return arrow::boolean();
    case Kind::int64:
      return arrow::int64();
    case Kind::uint64:
      return arrow::uint64();
    case Kind::float64:
      return arrow::float64();
    case Kind::list:
      return arrow::list(item_->type());
    case Kind::object: {
      arrow::FieldVector fields;
      for (const auto& [name, guess] : fields_) fields.push_back(arrow::field(name, guess.type()));
      return arrow::struct_(std::move(fields));
    }
    case Kind::null:
    case Kind::string:
      break;
  }
  return arrow::utf8();
}

JsonColumns::JsonColumns(std::shared_ptr<arrow::Schema> schema, bool ignore_unknown)
    : schema_(std::move(schema)),
      ignore_unknown_(ignore_unknown),
      builder_(take(arrow::RecordBatchBuilder::Make(schema_, arrow::default_memory_pool()), "JSON")) {}

JsonColumns::~JsonColumns() = default;

void JsonColumns::append(simdjson::dom::object row) {
  append_members(
      schema_->fields(),
      [this](std::size_t i) -> arrow::ArrayBuilder& { return *builder_->GetField(static_cast<int>(i)); }, row, "",
      ignore_unknown_);
  ++num_rows_;
}

std::shared_ptr<arrow::RecordBatch> JsonColumns::finish() {
  auto batch = take(builder_->Flush(), "JSON");
  if (schema_->num_fields() == 0) batch = arrow::RecordBatch::Make(schema_, num_rows_, arrow::ArrayVector{});
  num_rows_ = 0;
  return batch;
}

}  // namespace mobula::data
