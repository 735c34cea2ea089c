#include "mobula/data/rows/tensor_view.hpp"

#include <arrow/array.h>
#include <arrow/array/array_nested.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula::data {
namespace {

std::optional<ElementType> element_type(arrow::Type::type type) {
  switch (type) {
    case arrow::Type::INT8:
      return ElementType::int8;
    case arrow::Type::INT16:
      return ElementType::int16;
    case arrow::Type::INT32:
      return ElementType::int32;
    case arrow::Type::INT64:
      return ElementType::int64;
    case arrow::Type::UINT8:
      return ElementType::uint8;
    case arrow::Type::UINT16:
      return ElementType::uint16;
    case arrow::Type::UINT32:
      return ElementType::uint32;
    case arrow::Type::UINT64:
      return ElementType::uint64;
    case arrow::Type::HALF_FLOAT:
      return ElementType::float16;
    case arrow::Type::FLOAT:
      return ElementType::float32;
    case arrow::Type::DOUBLE:
      return ElementType::float64;
    default:
      return std::nullopt;
  }
}

void refuse_nulls(const arrow::Array& array, const std::string& column) {
  if (array.null_count() == 0) return;
  std::int64_t row = 0;
  while (array.IsValid(row)) ++row;
  throw_invalid(fmt::format("tensor: column '{}' has a null at {}", column, row), "impute or filter nulls first");
}

/// Returns the values of variable lists, all of which must be of one length.
template <class ListType>
std::shared_ptr<arrow::Array> even_items(const arrow::Array& array, const std::string& column, std::int64_t& length) {
  const auto& lists = static_cast<const ListType&>(array);
  length = lists.length() == 0 ? 0 : lists.value_length(0);
  for (std::int64_t row = 1; row < lists.length(); ++row) {
    if (lists.value_length(row) != length) {
      throw_invalid(fmt::format("tensor: column '{}' has a list of {} at row {} of the batch, and one of {} at row 1",
                                column, lists.value_length(row), row + 1, length),
                    "pad or pack the lists to one length first");
    }
  }
  return lists.values()->Slice(lists.length() == 0 ? 0 : lists.value_offset(0), lists.length() * length);
}

}  // namespace

std::size_t size_of(ElementType type) {
  switch (type) {
    case ElementType::int8:
    case ElementType::uint8:
      return 1;
    case ElementType::int16:
    case ElementType::uint16:
    case ElementType::float16:
      return 2;
    case ElementType::int32:
    case ElementType::uint32:
    case ElementType::float32:
      return 4;
    case ElementType::int64:
    case ElementType::uint64:
    case ElementType::float64:
      break;
  }
  return 8;
}

std::string_view to_string(ElementType type) {
  static constexpr std::string_view kNames[] = {"int8",   "int16",  "int32",   "int64",   "uint8",  "uint16",
                                                "uint32", "uint64", "float16", "float32", "float64"};
  return kNames[static_cast<std::size_t>(type)];
}

std::int64_t TensorView::size() const {
  std::int64_t size = 1;
  for (const std::int64_t dimension : shape) size *= dimension;
  return size;
}

void throw_element_type(ElementType type, std::string_view expected) {
  throw_invalid(fmt::format("tensor: its elements are {}, not {}", to_string(type), expected));
}

TensorView tensor_view(const RecordBatchPointer& batch, const std::string& column) {
  std::shared_ptr<arrow::Array> values = batch->GetColumnByName(column);
  if (values == nullptr) {
    throw Error(ErrorCode::not_found, fmt::format("tensor: no column '{}'", column),
                suggest(column, batch->schema()->field_names()));
  }
  TensorView view;
  view.shape.push_back(batch->num_rows());
  while (true) {
    refuse_nulls(*values, column);
    std::int64_t length = 0;
    if (values->type_id() == arrow::Type::LIST) {
      values = even_items<arrow::ListArray>(*values, column, length);
    } else if (values->type_id() == arrow::Type::LARGE_LIST) {
      values = even_items<arrow::LargeListArray>(*values, column, length);
    } else if (values->type_id() == arrow::Type::FIXED_SIZE_LIST) {
      const auto& lists = static_cast<const arrow::FixedSizeListArray&>(*values);
      length = lists.list_type()->list_size();
      values = lists.values()->Slice(lists.value_offset(0), lists.length() * length);
    } else {
      break;
    }
    view.shape.push_back(length);
  }
  const auto type = element_type(values->type_id());
  if (!type) {
    throw_invalid(fmt::format("tensor: column '{}' holds {}, not numbers", column, values->type()->ToString()),
                  values->type_id() == arrow::Type::BOOL ? "cast it to uint8 first" : "encode it as numbers first");
  }
  view.type = *type;
  const auto& buffer = values->data()->buffers[1];
  if (buffer != nullptr) view.data = buffer->data() + static_cast<std::size_t>(values->offset()) * size_of(*type);
  view.owner = values;
  return view;
}

}  // namespace mobula::data
