#include "mobula/nn/array.hpp"

#include <c10/util/Float8_e4m3fn.h>
#include <c10/util/Float8_e5m2.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/nn/parallel_for.hpp"

namespace mobula::nn {
namespace {

constexpr std::align_val_t kAlignment{64};

std::int64_t product(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

// Calls `use` with a null pointer to the floating-point type.
template <class Use>
void with_floating_type(at::ScalarType type, const Use& use) {
  switch (type) {
    case at::kDouble:
      return use(static_cast<double*>(nullptr));
    case at::kFloat:
      return use(static_cast<float*>(nullptr));
    case at::kHalf:
      return use(static_cast<at::Half*>(nullptr));
    case at::kBFloat16:
      return use(static_cast<at::BFloat16*>(nullptr));
    case at::kFloat8_e4m3fn:
      return use(static_cast<at::Float8_e4m3fn*>(nullptr));
    case at::kFloat8_e5m2:
      return use(static_cast<at::Float8_e5m2*>(nullptr));
    default:
      throw Error(ErrorCode::unsupported, fmt::format("{} is no floating-point type", c10::toString(type)));
  }
}

template <class From, class To>
void convert(const From* from, std::int64_t count, To* to) {
  parallel_for(count, 65536, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      if constexpr (std::is_same_v<From, double> && std::is_same_v<To, double>) {
        to[i] = from[i];
      } else if constexpr (std::is_same_v<To, double>) {
        to[i] = static_cast<double>(static_cast<float>(from[i]));
      } else {
        to[i] = static_cast<To>(static_cast<float>(from[i]));
      }
    }
  });
}

}  // namespace

Array::Array(const void* data, Shape shape, at::ScalarType type, std::shared_ptr<const void> owner)
    : data_(data), shape_(std::move(shape)), count_(product(shape_)), type_(type), owner_(std::move(owner)) {}

Array Array::empty(Shape shape, at::ScalarType type) {
  const auto bytes = static_cast<std::size_t>(product(shape)) * nn::element_size(type);
  void* const memory = ::operator new(std::max<std::size_t>(bytes, 1), kAlignment);
  std::shared_ptr<const void> owner(memory, [](void* begin) { ::operator delete(begin, kAlignment); });
  return {memory, std::move(shape), type, std::move(owner)};
}

Array Array::copy_of(const void* data, Shape shape, at::ScalarType type) {
  Array result = empty(std::move(shape), type);
  std::memcpy(result.data_ptr(), data, result.nbytes());
  return result;
}

Array Array::of(const std::vector<std::int64_t>& numbers) {
  return copy_of(numbers.data(), {static_cast<std::int64_t>(numbers.size())}, at::kLong);
}

Array Array::of(const std::vector<float>& numbers) {
  return copy_of(numbers.data(), {static_cast<std::int64_t>(numbers.size())}, at::kFloat);
}

void Array::check_type(at::ScalarType wanted) const {
  if (wanted != type_) {
    throw_internal(fmt::format("an array of {} is read as {}", c10::toString(type_), c10::toString(wanted)));
  }
}

std::size_t Array::row_bytes() const {
  return shape_.empty() || shape_[0] == 0 ? 0 : nbytes() / static_cast<std::size_t>(shape_[0]);
}

Array Array::to(at::ScalarType type) const {
  if (type == type_ || !defined()) return *this;
  Array result = empty(shape_, type);
  with_floating_type(type_, [&](auto* from) {
    using From = std::remove_pointer_t<decltype(from)>;
    with_floating_type(type, [&](auto* to) {
      using To = std::remove_pointer_t<decltype(to)>;
      convert(const_data_ptr<From>(), count_, result.data_ptr<To>());
    });
  });
  return result;
}

Array Array::narrow(std::int64_t begin, std::int64_t count) const {
  if (shape_.empty() || begin < 0 || count < 0 || begin > shape_[0] - count) {
    throw_internal(fmt::format("rows {} to {} of [{}]", begin, begin + count, fmt::join(shape_, ", ")));
  }
  Shape shape = shape_;
  shape[0] = count;
  return {static_cast<const std::byte*>(data_) + static_cast<std::size_t>(begin) * row_bytes(), std::move(shape), type_,
          owner_};
}

Array Array::select(std::int64_t index) const {
  const Array one = narrow(index, 1);
  return one.reshaped({shape_.begin() + 1, shape_.end()});
}

Array Array::reshaped(Shape shape) const {
  if (product(shape) != count_) {
    throw_internal(fmt::format("[{}] can't become [{}]", fmt::join(shape_, ", "), fmt::join(shape, ", ")));
  }
  return {data_, std::move(shape), type_, owner_};
}

Array Array::select_rows(const std::vector<std::int64_t>& rows) const {
  Shape shape = shape_;
  shape.at(0) = static_cast<std::int64_t>(rows.size());
  Array result = empty(std::move(shape), type_);
  auto* out = static_cast<std::byte*>(result.data_ptr());
  for (const std::int64_t row : rows) {
    std::memcpy(out, narrow(row, 1).data_, row_bytes());
    out += row_bytes();
  }
  return result;
}

Array Array::transposed() const {
  if (dim() != 2) throw_internal(fmt::format("[{}] is no matrix", fmt::join(shape_, ", ")));
  const std::int64_t rows = shape_[0], columns = shape_[1];
  Array result = empty({columns, rows}, type_);
  const auto copy = [&](const auto* from, auto* to) {
    constexpr std::int64_t kTile = 32;  // of numbers that stay in the first-level cache
    parallel_for((columns + kTile - 1) / kTile, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t first = 0; first < rows; first += kTile) {
        for (std::int64_t column = begin * kTile; column < std::min(end * kTile, columns); ++column) {
          for (std::int64_t row = first; row < std::min(first + kTile, rows); ++row) {
            to[column * rows + row] = from[row * columns + column];
          }
        }
      }
    });
  };
  const auto copy_as = [&](auto* unit) {
    using Unit = std::remove_pointer_t<decltype(unit)>;
    copy(static_cast<const Unit*>(data_), static_cast<Unit*>(result.data_ptr()));
  };
  switch (element_size()) {
    case 1:
      copy_as(static_cast<std::uint8_t*>(nullptr));
      break;
    case 2:
      copy_as(static_cast<std::uint16_t*>(nullptr));
      break;
    case 4:
      copy_as(static_cast<std::uint32_t*>(nullptr));
      break;
    default:
      copy_as(static_cast<std::uint64_t*>(nullptr));
      break;
  }
  return result;
}

}  // namespace mobula::nn
