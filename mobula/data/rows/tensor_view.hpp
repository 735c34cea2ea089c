/// Columns as tensors, without a copy and without anybody's tensor library.
///
///     TensorView tokens = tensor_view(batch, "tokens");          // [rows, length], int64
///     at::from_blob(const_cast<void*>(tokens.data), tokens.shape, [owner = tokens.owner](void*) {}, at::kLong);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "mobula/data/dataset.hpp"

namespace mobula::data {

enum class ElementType { int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, float32, float64 };

/// Returns the bytes of one element.
std::size_t size_of(ElementType type);
/// Returns a type's name, such as "int64".
std::string_view to_string(ElementType type);

/// Elements side by side, the last dimension fastest. A value; the memory lives as long as a copy of `owner`, and is not
/// to be written to.
struct TensorView {
  const void* data = nullptr;
  ElementType type = ElementType::float32;
  std::vector<std::int64_t> shape;
  std::shared_ptr<const void> owner;

  /// Returns the number of elements.
  std::int64_t size() const;
  /// Returns the elements. Throws Error(invalid_argument) where T is not of their type.
  template <class T>
  const T* as() const;
};

/// Looks at a column of numbers as a tensor [rows], of lists of one length as [rows, length], and so on. Throws
/// Error(invalid_argument) naming the column and the row for nulls, lists of different lengths, and types that are no
/// numbers (bool is stored in bits: cast it to uint8 first).
TensorView tensor_view(const RecordBatchPointer& batch, const std::string& column);

/// Throws the Error of TensorView::as().
[[noreturn]] void throw_element_type(ElementType type, std::string_view expected);

template <class T>
constexpr ElementType element_type_of() {
  if constexpr (std::is_same_v<T, std::int8_t>) return ElementType::int8;
  if constexpr (std::is_same_v<T, std::int16_t>) return ElementType::int16;
  if constexpr (std::is_same_v<T, std::int32_t>) return ElementType::int32;
  if constexpr (std::is_same_v<T, std::int64_t>) return ElementType::int64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return ElementType::uint8;
  if constexpr (std::is_same_v<T, std::uint16_t>) return ElementType::uint16;
  if constexpr (std::is_same_v<T, std::uint32_t>) return ElementType::uint32;
  if constexpr (std::is_same_v<T, std::uint64_t>) return ElementType::uint64;
  if constexpr (std::is_same_v<T, float>) return ElementType::float32;
  if constexpr (std::is_same_v<T, double>) return ElementType::float64;
}

template <class T>
const T* TensorView::as() const {
  constexpr ElementType kExpected = element_type_of<T>();
  if (type != kExpected) throw_element_type(type, to_string(kExpected));
  return static_cast<const T*>(data);
}

}  // namespace mobula::data
