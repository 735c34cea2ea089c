#include "mobula/data/rows/column_values.hpp"

#include <arrow/array.h>
#include <arrow/array/array_nested.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_nested.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/builder.h>
#include <arrow/compute/cast.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {
namespace {

std::shared_ptr<arrow::Array> cast_to(const std::shared_ptr<arrow::Array>& values, const std::string& name,
                                      const std::shared_ptr<arrow::DataType>& type) {
  if (values->type()->Equals(*type)) return values;
  initialize_arrow();
  auto cast = arrow::compute::Cast(*values, type);
  if (!cast.ok()) {
    throw_invalid(fmt::format("column '{}' is {}, and can't be read as {}: {}", name, values->type()->ToString(),
                              type->ToString(), cast.status().message()));
  }
  return *cast;
}

std::shared_ptr<arrow::Array> read_as(const std::shared_ptr<arrow::Array>& values, const std::string& name,
                                      ValueKind kind) {
  const auto id = values->type_id();
  switch (kind) {
    case ValueKind::truth:
      if (id != arrow::Type::BOOL)
        throw_invalid(fmt::format("column '{}' is {}, not bool", name, values->type()->ToString()));
      return values;
    case ValueKind::integer:
      if (!arrow::is_integer(id))
        throw_invalid(fmt::format("column '{}' is {}, not an integer", name, values->type()->ToString()));
      return cast_to(values, name, arrow::int64());
    case ValueKind::unsigned_integer:
      if (!arrow::is_integer(id))
        throw_invalid(fmt::format("column '{}' is {}, not an integer", name, values->type()->ToString()));
      return cast_to(values, name, arrow::uint64());
    case ValueKind::real:
      if (!arrow::is_numeric(id) && !arrow::is_decimal(id))
        throw_invalid(fmt::format("column '{}' is {}, not a number", name, values->type()->ToString()));
      return cast_to(values, name, arrow::float64());
    case ValueKind::text:
      if (!arrow::is_base_binary_like(id))
        throw_invalid(fmt::format("column '{}' is {}, not a text", name, values->type()->ToString()));
      return id == arrow::Type::BINARY ? values : cast_to(values, name, arrow::utf8());
    case ValueKind::list:
      break;
  }
  if (id == arrow::Type::LIST) return values;
  if (id != arrow::Type::LARGE_LIST && id != arrow::Type::FIXED_SIZE_LIST)
    throw_invalid(fmt::format("column '{}' is {}, not a list", name, values->type()->ToString()));
  return cast_to(values, name, arrow::list(values->type()->field(0)->type()));
}

std::shared_ptr<arrow::DataType> type_of(ValueKind kind, int bits) {
  switch (kind) {
    case ValueKind::truth:
      return arrow::boolean();
    case ValueKind::integer:
      return bits == 8 ? arrow::int8() : bits == 16 ? arrow::int16() : bits == 32 ? arrow::int32() : arrow::int64();
    case ValueKind::unsigned_integer:
      return bits == 8 ? arrow::uint8() : bits == 16 ? arrow::uint16() : bits == 32 ? arrow::uint32() : arrow::uint64();
    case ValueKind::real:
      return bits == 32 ? arrow::float32() : arrow::float64();
    case ValueKind::text:
    case ValueKind::list:
      break;
  }
  return arrow::utf8();
}

/// Makes the builder of the widest type of a kind; finish_batch() narrows the column.
std::shared_ptr<arrow::ArrayBuilder> make_builder(ValueKind kind) {
  switch (kind) {
    case ValueKind::truth:
      return std::make_shared<arrow::BooleanBuilder>();
    case ValueKind::integer:
      return std::make_shared<arrow::Int64Builder>();
    case ValueKind::unsigned_integer:
      return std::make_shared<arrow::UInt64Builder>();
    case ValueKind::real:
      return std::make_shared<arrow::DoubleBuilder>();
    case ValueKind::text:
    case ValueKind::list:
      break;
  }
  return std::make_shared<arrow::StringBuilder>();
}

}  // namespace

ColumnReader::ColumnReader(const RecordBatchPointer& batch, std::string_view column, ValueKind kind) : name_(column) {
  const auto values = batch->GetColumnByName(name_);
  if (values == nullptr) {
    throw Error(ErrorCode::not_found, fmt::format("no column '{}'", name_),
                suggest(name_, batch->schema()->field_names()));
  }
  values_ = read_as(values, name_, kind);
}
ColumnReader::ColumnReader(std::shared_ptr<arrow::Array> values, std::string name, ValueKind kind)
    : name_(std::move(name)), values_(read_as(values, name_, kind)) {}
ColumnReader::~ColumnReader() = default;

bool ColumnReader::is_null(std::int64_t row) const {
  return values_->IsNull(row);
}
bool ColumnReader::truth(std::int64_t row) const {
  return static_cast<const arrow::BooleanArray&>(*values_).Value(row);
}
std::int64_t ColumnReader::integer(std::int64_t row) const {
  return static_cast<const arrow::Int64Array&>(*values_).Value(row);
}
std::uint64_t ColumnReader::unsigned_integer(std::int64_t row) const {
  return static_cast<const arrow::UInt64Array&>(*values_).Value(row);
}
double ColumnReader::real(std::int64_t row) const {
  return static_cast<const arrow::DoubleArray&>(*values_).Value(row);
}
std::string_view ColumnReader::text(std::int64_t row) const {
  return static_cast<const arrow::BinaryArray&>(*values_).GetView(row);  // strings are laid out alike
}
std::pair<std::int64_t, std::int64_t> ColumnReader::items_of(std::int64_t row) const {
  const auto& lists = static_cast<const arrow::ListArray&>(*values_);
  return {lists.value_offset(row), lists.value_offset(row) + lists.value_length(row)};
}
ColumnReader ColumnReader::items(ValueKind kind) const {
  return {static_cast<const arrow::ListArray&>(*values_).values(), name_, kind};
}

struct ColumnBuilder::State {
  std::string name;
  ValueKind kind;
  int bits;
  std::shared_ptr<arrow::ArrayBuilder> builder;
  std::unique_ptr<ColumnBuilder> item;

  arrow::ListBuilder& list() { return static_cast<arrow::ListBuilder&>(*builder); }
};

ColumnBuilder::ColumnBuilder(std::string name, ValueKind kind, int bits, ValueKind item, int item_bits)
    : state_(std::make_unique<State>(State{std::move(name), kind, bits, nullptr, nullptr})) {
  if (kind != ValueKind::list) {
    state_->builder = make_builder(kind);
    return;
  }
  auto items = std::make_unique<State>(State{state_->name, item, item_bits, make_builder(item), nullptr});
  state_->builder = std::make_shared<arrow::ListBuilder>(arrow::default_memory_pool(), items->builder);
  state_->item.reset(new ColumnBuilder(std::move(items)));
}
ColumnBuilder::ColumnBuilder(std::unique_ptr<State> state) : state_(std::move(state)) {}
ColumnBuilder::ColumnBuilder(ColumnBuilder&&) noexcept = default;
ColumnBuilder::~ColumnBuilder() = default;

void ColumnBuilder::append_null() {
  check(state_->builder->AppendNull(), state_->name);
}
void ColumnBuilder::append_truth(bool value) {
  check(static_cast<arrow::BooleanBuilder&>(*state_->builder).Append(value), state_->name);
}
void ColumnBuilder::append_integer(std::int64_t value) {
  check(static_cast<arrow::Int64Builder&>(*state_->builder).Append(value), state_->name);
}
void ColumnBuilder::append_unsigned(std::uint64_t value) {
  check(static_cast<arrow::UInt64Builder&>(*state_->builder).Append(value), state_->name);
}
void ColumnBuilder::append_real(double value) {
  check(static_cast<arrow::DoubleBuilder&>(*state_->builder).Append(value), state_->name);
}
void ColumnBuilder::append_text(std::string_view value) {
  check(static_cast<arrow::StringBuilder&>(*state_->builder).Append(value), state_->name);
}
void ColumnBuilder::begin_list() {
  check(state_->list().Append(), state_->name);
}
ColumnBuilder& ColumnBuilder::items() {
  return *state_->item;
}

RecordBatchPointer finish_batch(std::vector<ColumnBuilder>& columns, std::int64_t rows) {
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  for (ColumnBuilder& column : columns) {
    ColumnBuilder::State& state = *column.state_;
    auto array = take(state.builder->Finish(), state.name);
    const auto type = state.kind == ValueKind::list
                          ? arrow::list(type_of(state.item->state_->kind, state.item->state_->bits))
                          : type_of(state.kind, state.bits);
    if (!array->type()->Equals(*type)) {
      // Values came from types of this width, so that nothing is lost.
      initialize_arrow();
      array = take(arrow::compute::Cast(*array, type, arrow::compute::CastOptions::Unsafe()), state.name);
    }
    fields.push_back(arrow::field(state.name, type));
    arrays.push_back(std::move(array));
  }
  return arrow::RecordBatch::Make(arrow::schema(std::move(fields)), rows, std::move(arrays));
}

std::int64_t num_rows_of(const RecordBatchPointer& batch) {
  return batch->num_rows();
}

void throw_bad_value(const std::string& column, std::int64_t row, std::string_view problem) {
  throw_invalid(fmt::format("column '{}' at row {} of the batch: {}", column, row + 1, problem));
}

}  // namespace mobula::data
