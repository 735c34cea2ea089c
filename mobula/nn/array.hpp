/// Numbers in memory without libtorch: what files hold and what the decode loop reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mobula/nn/number_type.hpp"

namespace mobula::nn {

using Shape = std::vector<std::int64_t>;

/// Numbers of one type, row after row, in memory that somebody owns: a mapped file, a pool of pages, a tensor of libtorch's
/// (see tensor_array.hpp), or the array itself. Copies share the memory. What was not made by Array::empty() must not be
/// written to.
class Array {
 public:
  /// No array: defined() is false.
  Array() = default;
  /// Takes the numbers at `data`, which `owner` keeps alive.
  Array(const void* data, Shape shape, at::ScalarType type, std::shared_ptr<const void> owner);

  /// Returns an array of undefined content in memory of its own. Throws std::bad_alloc.
  static Array empty(Shape shape, at::ScalarType type);
  /// Returns a copy of the numbers at `data`, which may lie at any address.
  static Array copy_of(const void* data, Shape shape, at::ScalarType type);
  /// Returns an array that holds a copy of such numbers.
  static Array of(const std::vector<std::int64_t>& numbers);
  static Array of(const std::vector<float>& numbers);

  bool defined() const noexcept { return owner_ != nullptr; }
  const Shape& sizes() const noexcept { return shape_; }
  /// Returns the length of a dimension that there is.
  std::int64_t size(std::size_t dimension) const { return shape_.at(dimension); }
  std::int64_t dim() const noexcept { return static_cast<std::int64_t>(shape_.size()); }
  std::int64_t numel() const noexcept { return count_; }
  std::size_t nbytes() const { return static_cast<std::size_t>(count_) * element_size(); }
  at::ScalarType scalar_type() const noexcept { return type_; }
  bool is_floating_point() const noexcept { return nn::is_floating_point(type_); }
  std::size_t element_size() const { return nn::element_size(type_); }
  /// Returns what keeps the memory alive.
  const std::shared_ptr<const void>& owner() const noexcept { return owner_; }

  const void* const_data_ptr() const noexcept { return data_; }
  /// Returns the numbers; T is their type.
  template <class T>
  const T* const_data_ptr() const {
    check_type(c10::CppTypeToScalarType<T>::value);
    return static_cast<const T*>(data_);
  }
  /// Returns the numbers of an array that Array::empty() or HugePages::empty() made.
  void* data_ptr() noexcept { return const_cast<void*>(data_); }
  template <class T>
  T* data_ptr() {
    check_type(c10::CppTypeToScalarType<T>::value);
    return static_cast<T*>(const_cast<void*>(data_));
  }

  /// Returns the numbers in another floating-point type, or the array itself where it has that type. Throws
  /// Error(unsupported) where one of both is no floating-point type. Uses parallel_for().
  Array to(at::ScalarType type) const;
  /// Returns entries `begin` to `begin + count` of the first dimension, over the same memory.
  Array narrow(std::int64_t begin, std::int64_t count) const;
  /// Returns one entry of the first dimension, without that dimension, over the same memory.
  Array select(std::int64_t index) const;
  /// Returns the same numbers under another shape.
  Array reshaped(Shape shape) const;
  Array flatten() const { return reshaped({count_}); }
  /// Returns a copy that holds those entries of the first dimension, in that order.
  Array select_rows(const std::vector<std::int64_t>& rows) const;
  /// Returns a copy of a matrix, columns first.
  Array transposed() const;

 private:
  void check_type(at::ScalarType wanted) const;
  std::size_t row_bytes() const;

  const void* data_ = nullptr;
  Shape shape_;
  std::int64_t count_ = 0;
  at::ScalarType type_ = at::kFloat;
  std::shared_ptr<const void> owner_;
};

/// An array under the name that checkpoints give it.
struct NamedArray {
  std::string name;
  Array array;
};

}  // namespace mobula::nn
